package peers;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.stream.Stream;
import peers.Serializers.Key;
import peers.Serializers.KeyType;
import peers.Serializers.Raw;
import peers.Serializers.RawType;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.api.common.state.CheckpointListener;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.java.functions.KeySelector;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;

/**
 * Flink in one JVM: Kafka, keyed state, Kafka; a checkpoint each five seconds, transactions with it.
 *
 * <p>BOOTSTRAP TOPIC OUT COUNT DIRECTORY rocksdb|hashmap
 */
public final class Flink {
    private static final TypeInformation<Raw> RAW = new RawType();

    private Flink() {}

    /** Key and value as they are: the bytes cross to the keyed task and are parsed there. */
    static final class Take implements KafkaRecordDeserializationSchema<Raw> {
        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Raw> out) {
            out.collect(new Raw(new Key(record.key()), record.value()));
        }

        @Override
        public TypeInformation<Raw> getProducedType() {
            return RAW;
        }
    }

    static final class Give implements KafkaRecordSerializationSchema<Raw> {
        private final String topic;

        Give(String topic) {
            this.topic = topic;
        }

        @Override
        public ProducerRecord<byte[], byte[]> serialize(Raw raw, KafkaSinkContext context, Long timestamp) {
            return new ProducerRecord<>(topic, raw.key.name, raw.value);
        }
    }

    /** What both variants have in common. */
    abstract static class Fold extends KeyedProcessFunction<Key, Raw, Raw>
            implements CheckpointedFunction, CheckpointListener {
        private transient Map<Long, StopWatch.Count> inCheckpoints;
        transient Event event;
        private transient StopWatch.Counter counter;
        private transient Collector<Raw> collector;
        private transient Raw current;
        transient Job.Out out;

        @Override
        public void open(OpenContext context) {
            event = new Event();
            counter = StopWatch.counter();
            out = change -> {
                collector.collect(new Raw(current.key, change));
                counter.change();
            };
        }

        @Override
        public void processElement(Raw raw, Context context, Collector<Raw> given) throws Exception {
            current = raw;
            collector = given;
            event.parse(raw.value, 0, raw.value.length);
            User user = fold();
            if (Peer.CHECKED) {
                Peer.keep(event.user, user);
            }
            counter.event();
        }

        @Override
        public void initializeState(FunctionInitializationContext context) {
            inCheckpoints = new HashMap<>();
        }

        @Override
        public void snapshotState(FunctionSnapshotContext context) {
            inCheckpoints.put(context.getCheckpointId(), counter.now());
        }

        @Override
        public void notifyCheckpointComplete(long checkpoint) {
            StopWatch.Count count = inCheckpoints.remove(checkpoint);
            if (count != null) {
                StopWatch.committed(counter, count);
            }
        }

        abstract User fold() throws IOException;
    }

    /** State in RocksDB: unpacked, changed and packed again at each event. */
    static final class FoldPacked extends Fold {
        private transient ValueState<Packed> users;
        private transient Packed fresh;

        @Override
        public void open(OpenContext context) {
            super.open(context);
            fresh = new Packed();
            users = getRuntimeContext().getState(new ValueStateDescriptor<>("user", new States.OfPacked()));
        }

        @Override
        User fold() throws IOException {
            Packed user = users.value();
            if (user == null) {
                user = fresh;
                user.clear();
            }
            if (user.foldHere(event, out)) {
                users.update(user);
            }
            return user.user;
        }
    }

    /** State on the heap: an object that stays. */
    static final class FoldHeld extends Fold {
        private transient ValueState<Held> users;

        @Override
        public void open(OpenContext context) {
            super.open(context);
            users = getRuntimeContext().getState(new ValueStateDescriptor<>("user", new States.OfHeld()));
        }

        @Override
        User fold() throws IOException {
            Held user = users.value();
            if (user == null) {
                user = new Held();
            }
            if (!user.seen(event.mark())) {
                Job.fold(user, event, out);
                users.update(user);
            }
            return user;
        }
    }

    static Configuration configuration(Path directory, String backend) {
        Configuration given = new Configuration();
        given.setString("execution.checkpointing.interval", "5 s");
        given.setString("execution.checkpointing.mode", "EXACTLY_ONCE");
        given.setString("execution.checkpointing.storage", "filesystem");
        given.setString("execution.checkpointing.dir", directory.resolve("checkpoints").toUri().toString());
        given.setString("execution.checkpointing.incremental", "true");
        given.setString("state.backend.type", backend);
        given.setString("state.backend.rocksdb.localdir", directory.resolve("rocksdb").toString());
        given.setString("state.backend.rocksdb.use-bloom-filter", "true");
        given.setString("state.backend.rocksdb.compression.per.level", "NO_COMPRESSION");
        given.setString("state.backend.rocksdb.checkpoint.transfer.thread.num", "2");
        given.setString("io.tmp.dirs", directory.resolve("tmp").toString());
        given.setString("taskmanager.numberOfTaskSlots", "2");
        given.setString("taskmanager.memory.managed.size", backend.equals("rocksdb") ? "1 gb" : "64 mb");
        given.setString("taskmanager.memory.network.min", "128 mb");
        given.setString("taskmanager.memory.network.max", "128 mb");
        given.setString("pipeline.object-reuse", "true");
        given.setString("pipeline.generic-types", "false");
        given.setString("restart-strategy.type", "none");
        return given;
    }

    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[0];
        String out = arguments[2];
        Path directory = Path.of(arguments[4]).toAbsolutePath();
        String backend = arguments[5];
        for (String each : new String[] {"checkpoints", "rocksdb", "tmp"}) {
            Files.createDirectories(directory.resolve(each));
        }
        Configuration configuration = configuration(directory, backend);
        try (Stream<Path> files = Files.walk(directory.resolve("checkpoints"))) { // of a run that was ended
            files.filter(file -> file.endsWith("_metadata"))
                    .max(Comparator.comparing(file -> file.toFile().lastModified()))
                    .ifPresent(file -> configuration.setString(
                            "execution.state-recovery.path", file.getParent().toUri().toString()));
        }
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.createLocalEnvironment(2, configuration);

        KafkaSource<Raw> source = KafkaSource.<Raw>builder()
                .setBootstrapServers(bootstrap)
                .setTopics(arguments[1])
                .setGroupId("flink-" + out)
                .setStartingOffsets(OffsetsInitializer.earliest())
                .setDeserializer(new Take())
                .setProperty("partition.discovery.interval.ms", "-1")
                .setProperty(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed")
                .setProperty(ConsumerConfig.MAX_POLL_RECORDS_CONFIG, "10000")
                .setProperty(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG, String.valueOf(8 << 20))
                .setProperty(ConsumerConfig.RECEIVE_BUFFER_CONFIG, String.valueOf(1 << 20))
                .build();

        Properties producer = new Properties();
        producer.put(ProducerConfig.COMPRESSION_TYPE_CONFIG, "lz4");
        producer.put(ProducerConfig.LINGER_MS_CONFIG, "20");
        producer.put(ProducerConfig.BATCH_SIZE_CONFIG, String.valueOf(1 << 20));
        producer.put(ProducerConfig.TRANSACTION_TIMEOUT_CONFIG, "600000");
        KafkaSink<Raw> sink = KafkaSink.<Raw>builder()
                .setBootstrapServers(bootstrap)
                .setRecordSerializer(new Give(out))
                .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
                .setTransactionalIdPrefix("flink-" + out)
                .setKafkaProducerConfig(producer)
                .build();

        DataStream<Raw> events =
                environment.fromSource(source, WatermarkStrategy.noWatermarks(), "events").uid("events");
        KeySelector<Raw, Key> user = raw -> raw.key;
        events.keyBy(user, new KeyType())
                .process(backend.equals("rocksdb") ? new FoldPacked() : new FoldHeld(), RAW)
                .uid("fold")
                .sinkTo(sink)
                .uid("changes");
        JobClient job = environment.executeAsync("peer");
        job.getJobExecutionResult()
                .whenComplete((result, error) ->
                        Peer.failed(error != null ? error : new IllegalStateException("the job ended by itself")));
        Peer.end(Long.parseLong(arguments[3]));
    }
}
