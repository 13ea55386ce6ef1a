import java.io.FileOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.PriorityQueue;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * A pod of Java consumers with CooperativeStickyAssignor, each in a thread of its own.
 *
 * <p>It does the same work as the Python pods and writes the same notes; see work.py and notes.py.
 */
final class Member implements Runnable, ConsumerRebalanceListener {
    private static final byte BEGAN = 2;
    private static final byte ASSIGNED = 3;
    private static final byte REVOKED = 4;
    private static final byte LOST = 5;
    private static final byte COMMIT_FAILED = 6;
    private static final byte STRAY = 7;
    private static final long POLL_MS = 200;
    private static final long LEAVE_POLL_MS = 100;
    private static final long LEAVE_NS = 25_000_000_000L;

    private static volatile boolean stopping;

    private final Map<String, String> arguments;
    private final int number;
    private final FileOutputStream notes;
    private final KafkaConsumer<byte[], byte[]> consumer;
    private final int slots;
    private final Map<TopicPartition, Lane> lanes = new HashMap<>();
    private final PriorityQueue<Long> ends = new PriorityQueue<>();
    private final Deque<ConsumerRecord<byte[], byte[]>> waiting = new ArrayDeque<>();
    private long nextCommit;

    /** One assignment of one partition. */
    private static final class Lane {
        final Deque<long[]> begun = new ArrayDeque<>();
        long done = -1;
        long committed = -1;
        long lastEnd;
        boolean closing;

        boolean hasNews(long now) {
            while (!begun.isEmpty() && begun.peekFirst()[1] <= now) {
                done = begun.pollFirst()[0] + 1;
            }
            return done != committed;
        }
    }

    Member(Map<String, String> arguments, int number, FileOutputStream notes) {
        this.arguments = arguments;
        this.number = number;
        this.notes = notes;
        this.slots = Integer.parseInt(arguments.get("slots"));
        Properties properties = new Properties();
        properties.put("bootstrap.servers", arguments.get("servers"));
        properties.put("group.id", arguments.get("group"));
        properties.put("client.id", arguments.get("pod") + "-" + number);
        properties.put("session.timeout.ms", arguments.get("session_ms"));
        properties.put("heartbeat.interval.ms", arguments.get("heartbeat_ms"));
        // Java's rebalance timeout is this.
        properties.put("max.poll.interval.ms", arguments.get("rebalance_ms"));
        properties.put("max.poll.records", arguments.get("slots"));
        properties.put("enable.auto.commit", "false");
        properties.put("auto.offset.reset", "earliest");
        properties.put("key.deserializer", ByteArrayDeserializer.class.getName());
        properties.put("value.deserializer", ByteArrayDeserializer.class.getName());
        properties.put(
                "partition.assignment.strategy", CooperativeStickyAssignor.class.getName());
        this.consumer = new KafkaConsumer<>(properties);
    }

    @Override
    public void run() {
        consumer.subscribe(List.of(arguments.get("topic")), this);
        while (!stopping) {
            turn();
        }
        leave();
    }

    /** A commit is refused while a rebalance goes on, and one proceeds in poll only. */
    private void leave() {
        lanes.values().forEach(lane -> lane.closing = true);
        long giveUp = System.nanoTime() + LEAVE_NS;
        while (System.nanoTime() < giveUp && (isHolding() || !commit(lanes.keySet()))) {
            consumer.pause(consumer.assignment());
            consumer.poll(Duration.ofMillis(LEAVE_POLL_MS));
        }
        consumer.close();
    }

    private boolean isHolding() {
        long now = System.nanoTime();
        return lanes.values().stream().anyMatch(lane -> lane.lastEnd > now);
    }

    private void turn() {
        beginWaiting();
        if (waiting.isEmpty()) {
            consumer.resume(consumer.paused());
            long commitIn = Math.max(0, (nextCommit - System.nanoTime()) / 1_000_000);
            take(Math.min(POLL_MS, commitIn + 1));
        } else {
            // Polled all the same, since a rebalance proceeds in poll only.
            consumer.pause(consumer.assignment());
            long freeIn = Math.max(0, (ends.peek() - System.nanoTime()) / 1_000_000);
            take(Math.min(POLL_MS, freeIn + 1));
        }
        if (System.nanoTime() >= nextCommit) {
            commit(lanes.keySet());
            nextCommit = System.nanoTime() + 1_000_000L * Long.parseLong(arguments.get("commit_ms"));
        }
    }

    private void take(long milliseconds) {
        for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(milliseconds))) {
            waiting.add(record);
        }
        beginWaiting();
    }

    private void beginWaiting() {
        while (!waiting.isEmpty()) {
            long now = System.nanoTime();
            while (!ends.isEmpty() && ends.peek() <= now) {
                ends.poll();
            }
            if (ends.size() >= slots) {
                return;
            }
            begin(waiting.poll(), now);
        }
    }

    private void begin(ConsumerRecord<byte[], byte[]> record, long now) {
        ByteBuffer value = ByteBuffer.wrap(record.value());
        long producedNs = value.getLong();
        long end = now + 1_000L * value.getInt();
        Lane lane = lanes.get(new TopicPartition(record.topic(), record.partition()));
        if (lane == null) {
            note(STRAY, record.partition(), record.offset(), producedNs);
        } else if (!lane.closing) {
            ends.add(end);
            lane.begun.add(new long[] {record.offset(), end});
            lane.lastEnd = Math.max(lane.lastEnd, end);
            note(BEGAN, record.partition(), record.offset(), producedNs);
        }
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> assigned) {
        told(ASSIGNED, assigned);
        assigned.forEach(partition -> lanes.put(partition, new Lane()));
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> revoked) {
        told(REVOKED, revoked);
        finish(revoked);
    }

    @Override
    public void onPartitionsLost(Collection<TopicPartition> lost) {
        told(LOST, lost);
        forget(lost);
    }

    private void told(byte kind, Collection<TopicPartition> partitions) {
        partitions.forEach(partition -> note(kind, partition.partition(), 0, 0));
    }

    private void forget(Collection<TopicPartition> partitions) {
        partitions.forEach(lanes::remove);
        waiting.removeIf(
                record ->
                        partitions.contains(
                                new TopicPartition(record.topic(), record.partition())));
    }

    private void finish(Collection<TopicPartition> partitions) {
        long drained = 0;
        for (TopicPartition partition : partitions) {
            Lane lane = lanes.get(partition);
            if (lane != null) {
                lane.closing = true;
                drained = Math.max(drained, lane.lastEnd);
            }
        }
        sleepUntil(drained);
        commit(partitions);
        forget(partitions);
    }

    private static void sleepUntil(long end) {
        long left = end - System.nanoTime();
        if (left > 0) {
            try {
                Thread.sleep(left / 1_000_000 + 1);
            } catch (InterruptedException never) {
                throw new IllegalStateException(never);
            }
        }
    }

    private boolean commit(Collection<TopicPartition> partitions) {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        long now = System.nanoTime();
        for (TopicPartition partition : partitions) {
            Lane lane = lanes.get(partition);
            if (lane != null && lane.hasNews(now)) {
                offsets.put(partition, new OffsetAndMetadata(lane.done));
            }
        }
        if (offsets.isEmpty()) {
            return true;
        }
        try {
            consumer.commitSync(offsets);
            offsets.forEach((partition, offset) -> lanes.get(partition).committed = offset.offset());
            return true;
        } catch (KafkaException error) {
            System.err.println(arguments.get("pod") + "-" + number + ": " + error);
            note(COMMIT_FAILED, 0, 0, 0);
            return false;
        }
    }

    private void note(byte kind, int partition, long offset, long producedNs) {
        ByteBuffer note = ByteBuffer.allocate(32);
        note.put(kind).put((byte) 0).putShort((short) number).putInt(partition);
        note.putLong(offset).putLong(producedNs).putLong(System.nanoTime());
        try {
            synchronized (notes) {
                notes.write(note.array());
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    public static void main(String[] words) throws Exception {
        Map<String, String> arguments = new HashMap<>();
        for (String word : words) {
            String[] parts = word.split("=", 2);
            arguments.put(parts[0], parts[1]);
        }
        List<Member> members = new ArrayList<>();
        try (FileOutputStream notes = new FileOutputStream(arguments.get("notes"), true)) {
            for (int number = 0; number < Integer.parseInt(arguments.get("members")); number++) {
                members.add(new Member(arguments, number, notes));
            }
            if (arguments.get("idle").equals("1")) {
                members.forEach(m -> m.consumer.partitionsFor(arguments.get("topic")));
                new CountDownLatch(1).await();
            }
            runAll(members);
        }
    }

    private static void runAll(List<Member> members) throws InterruptedException {
        List<Thread> threads = new ArrayList<>();
        for (Member member : members) {
            Thread thread = new Thread(member);
            thread.setUncaughtExceptionHandler(
                    (which, error) -> {
                        error.printStackTrace();
                        Runtime.getRuntime().halt(1);
                    });
            threads.add(thread);
            thread.start();
        }
        Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(threads)));
        for (Thread thread : threads) {
            thread.join();
        }
    }

    private static void stop(List<Thread> threads) {
        stopping = true;
        for (Thread thread : threads) {
            try {
                thread.join();
            } catch (InterruptedException never) {
                return;
            }
        }
    }
}
