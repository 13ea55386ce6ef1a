import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Semaphore;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * What a user writes in Java: its own client and java.net.http, a hundred at once, a commit for
 * each poll. Arguments: servers, topic, group, base URL.
 */
final class Worker {
    private static final int IN_FLIGHT = 100;
    private static final Duration TIMEOUT = Duration.ofSeconds(15);
    private static final Duration POLL = Duration.ofMillis(200);
    private static final Pattern CUSTOMER = Pattern.compile("\"customer_id\": ?\"([^\"]*)\"");

    private static KafkaConsumer<byte[], byte[]> consumer(String servers, String group) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", servers);
        properties.put("group.id", group);
        properties.put("enable.auto.commit", "false");
        properties.put("auto.offset.reset", "earliest");
        properties.put("key.deserializer", ByteArrayDeserializer.class.getName());
        properties.put("value.deserializer", ByteArrayDeserializer.class.getName());
        properties.put(
                "partition.assignment.strategy", CooperativeStickyAssignor.class.getName());
        return new KafkaConsumer<>(properties);
    }

    private static HttpRequest request(String base, byte[] event) {
        Matcher found = CUSTOMER.matcher(new String(event, StandardCharsets.UTF_8));
        if (!found.find()) {
            throw new IllegalArgumentException("an event without a customer");
        }
        return HttpRequest.newBuilder(URI.create(base + "/" + found.group(1)))
                .timeout(TIMEOUT)
                .header("content-type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofByteArray(event))
                .build();
    }

    public static void main(String[] words) throws InterruptedException, IOException {
        KafkaConsumer<byte[], byte[]> consumer = consumer(words[0], words[2]);
        Thread main = Thread.currentThread();
        Runtime.getRuntime()
                .addShutdownHook(
                        new Thread(
                                () -> {
                                    consumer.wakeup();
                                    try {
                                        main.join();
                                    } catch (InterruptedException never) {
                                        Thread.currentThread().interrupt();
                                    }
                                }));
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        Semaphore places = new Semaphore(IN_FLIGHT);
        consumer.subscribe(List.of(words[1]));
        try {
            while (true) {
                List<CompletableFuture<?>> open = new ArrayList<>();
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(POLL)) {
                    places.acquire();
                    open.add(
                            client.sendAsync(
                                            request(words[3], record.value()),
                                            HttpResponse.BodyHandlers.discarding())
                                    .handle(
                                            (answer, error) -> {
                                                places.release();
                                                if (error != null) {
                                                    System.err.println(error);
                                                }
                                                return null;
                                            }));
                }
                if (!open.isEmpty()) {
                    CompletableFuture.allOf(open.toArray(new CompletableFuture<?>[0])).join();
                    consumer.commitSync();
                }
            }
        } catch (WakeupException stop) {
            consumer.close();
        }
    }
}
