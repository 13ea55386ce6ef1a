"""Members of other makes in one group with ours: Java's, librdkafka's, and stock aiokafka's."""
