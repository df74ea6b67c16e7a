package peers;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.internals.DefaultKafkaClientSupplier;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.RocksDBConfigSetter;
import org.apache.kafka.streams.state.Stores;
import org.rocksdb.BlockBasedTableConfig;
import org.rocksdb.BloomFilter;
import org.rocksdb.Cache;
import org.rocksdb.CompressionType;
import org.rocksdb.Filter;
import org.rocksdb.LRUCache;
import org.rocksdb.Options;

/**
 * Kafka Streams: a processor over a cached, logged RocksDB store; transactions ten times a second, its default.
 *
 * <p>BOOTSTRAP TOPIC OUT COUNT DIRECTORY
 */
public final class KStreams {
    private static final String STORE = "users";

    private KStreams() {}

    /** The processor: bytes in, bytes out; the store's cache keeps the very array that was put. */
    static final class Fold implements Processor<byte[], byte[], byte[], byte[]> {
        private final Event event = new Event();
        private final Packed packed = new Packed();
        private StopWatch.Counter counter;
        private ProcessorContext<byte[], byte[]> context;
        private KeyValueStore<byte[], byte[]> users;
        private Record<byte[], byte[]> record;
        private final Job.Out out = change -> {
            context.forward(record.withValue(change));
            counter.change();
        };

        @Override
        public void init(ProcessorContext<byte[], byte[]> given) {
            context = given;
            counter = StopWatch.counter(); // not in the constructor: the topology makes processors only to look at them
            users = given.getStateStore(STORE);
        }

        @Override
        public void process(Record<byte[], byte[]> given) {
            record = given;
            byte[] key = given.key();
            byte[] value = given.value();
            try {
                event.parse(value, 0, value.length);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
            byte[] next = packed.fold(users.get(key), event, out);
            if (next != null) {
                users.put(key, next);
                if (Peer.CHECKED) {
                    Peer.keep(event.user, next);
                }
            }
            counter.event();
        }

        @Override
        public void close() {
            StopWatch.closed(counter);
        }
    }

    /** RocksDB: one block cache for both stores, larger write buffers, few and large flushes; no compression (default). */
    public static final class Rocks implements RocksDBConfigSetter {
        private static final Cache CACHE = new LRUCache(256L << 20);
        private static final Filter BLOOM = new BloomFilter(10, false);

        @Override
        public void setConfig(String store, Options options, Map<String, Object> configs) {
            BlockBasedTableConfig table = (BlockBasedTableConfig) options.tableFormatConfig();
            table.setBlockCache(CACHE);
            table.setBlockSize(16 << 10);
            table.setFilterPolicy(BLOOM);
            table.setCacheIndexAndFilterBlocks(true);
            table.setPinL0FilterAndIndexBlocksInCache(true);
            options.setTableFormatConfig(table);
            options.setWriteBufferSize(64L << 20);
            options.setMaxWriteBufferNumber(4);
            options.setCompressionType(CompressionType.NO_COMPRESSION);
            options.setIncreaseParallelism(2);
        }

        @Override
        public void close(String store, Options options) {} // the cache and the filter are shared
    }

    /** Kafka Streams' own clients; a commit of a stream thread's transaction is told to the stop watch. */
    static final class CountedCommits extends DefaultKafkaClientSupplier {
        @Override
        public Producer<byte[], byte[]> getProducer(Map<String, Object> config) {
            return new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer()) {
                @Override
                public void commitTransaction() {
                    super.commitTransaction();
                    StopWatch.committed();
                }
            };
        }
    }

    static Topology topology(String topic, String out) {
        Topology made = new Topology();
        made.addSource("source", new ByteArrayDeserializer(), new ByteArrayDeserializer(), topic);
        made.addProcessor("fold", Fold::new, "source");
        made.addStateStore(
                Stores.keyValueStoreBuilder(
                                Stores.persistentKeyValueStore(STORE), Serdes.ByteArray(), Serdes.ByteArray())
                        .withCachingEnabled()
                        .withLoggingEnabled(Map.of("max.message.bytes", "16777216")),
                "fold");
        made.addSink("sink", out, new ByteArraySerializer(), new ByteArraySerializer(), "fold");
        return made;
    }

    public static void main(String[] arguments) throws Exception {
        String out = arguments[2];
        Properties given = new Properties();
        given.put(StreamsConfig.APPLICATION_ID_CONFIG, "kstreams-" + out);
        given.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        given.put(StreamsConfig.STATE_DIR_CONFIG, arguments[4]);
        given.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        given.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        given.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        given.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 256L << 20);
        given.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 20_000);
        given.put(StreamsConfig.ROCKSDB_CONFIG_SETTER_CLASS_CONFIG, Rocks.class);
        given.put(StreamsConfig.ENABLE_METRICS_PUSH_CONFIG, false);
        given.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        given.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 10_000);
        given.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG), 8 << 20);
        given.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.RECEIVE_BUFFER_CONFIG), 1 << 20);
        given.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
        given.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 1 << 20);
        given.put(StreamsConfig.producerPrefix(ProducerConfig.BUFFER_MEMORY_CONFIG), 256L << 20);
        given.put(StreamsConfig.producerPrefix(ProducerConfig.MAX_REQUEST_SIZE_CONFIG), 8 << 20);
        given.put(StreamsConfig.producerPrefix(ProducerConfig.SEND_BUFFER_CONFIG), 1 << 20);
        // linger.ms: Kafka Streams' own default is 100 ms

        KafkaStreams streams = new KafkaStreams(topology(arguments[1], out), given, new CountedCommits());
        streams.setUncaughtExceptionHandler(error -> {
            Peer.failed(error);
            return StreamThreadExceptionResponse.SHUTDOWN_APPLICATION;
        });
        streams.start();
        Peer.end(Long.parseLong(arguments[3]));
    }
}
