package peers;

import java.io.IOException;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import peers.Serializers.Base;

/** The serializers of a user's state: for RocksDB, which has bytes, and for the heap, which has objects. */
final class States {
    private States() {}

    /**
     * A user for RocksDB: read into, and written from, one object of this serializer. Each state has its own serializer
     * and uses it on its task's thread, and one value is in use at a time.
     */
    public static final class OfPacked extends Base<Packed> {
        private final transient Packed scratch = new Packed();

        @Override
        public TypeSerializer<Packed> duplicate() {
            return new OfPacked();
        }

        @Override
        public Packed createInstance() {
            return new Packed();
        }

        @Override
        public void serialize(Packed packed, DataOutputView target) throws IOException {
            target.writeShort(packed.ringBytes);
            target.write(packed.ring, 0, packed.ringBytes);
            int size = packed.writeSmall(packed.user);
            target.writeShort(size);
            target.write(packed.small(), 0, size);
        }

        @Override
        public Packed deserialize(DataInputView source) throws IOException {
            Packed packed = scratch;
            packed.ringBytes = source.readUnsignedShort();
            source.readFully(packed.ring, 0, packed.ringBytes);
            int size = source.readUnsignedShort();
            byte[] small = packed.small(size);
            source.readFully(small, 0, size);
            packed.readSmall(packed.user, small, 0);
            return packed;
        }

        private Object readResolve() {
            return new OfPacked();
        }

        @Override
        public TypeSerializerSnapshot<Packed> snapshotConfiguration() {
            return new Snapshot();
        }

        public static final class Snapshot extends SimpleTypeSerializerSnapshot<Packed> {
            public Snapshot() {
                super(OfPacked::new);
            }
        }
    }

    /** A user for the heap: lives as an object, is copied when it changes during a snapshot, is packed by a snapshot. */
    public static final class OfHeld extends Base<Held> {
        private final transient Packed packer = new Packed();

        @Override
        public TypeSerializer<Held> duplicate() {
            return new OfHeld();
        }

        @Override
        public Held createInstance() {
            return new Held();
        }

        @Override
        public Held copy(Held from) {
            return from.copy();
        }

        @Override
        public void serialize(Held held, DataOutputView target) throws IOException {
            int ids = held.ids();
            byte[] bytes = packer.ring;
            for (int at = 0; at < ids; at++) {
                Packed.UNSAFE.putLong(bytes, Packed.BASE + 8L * at, held.ring[at]);
            }
            target.writeShort(8 * ids);
            target.write(bytes, 0, 8 * ids);
            int size = packer.writeSmall(held);
            target.writeShort(size);
            target.write(packer.small(), 0, size);
        }

        @Override
        public Held deserialize(DataInputView source) throws IOException {
            Held held = new Held();
            int bytes = source.readUnsignedShort();
            source.readFully(packer.ring, 0, bytes);
            int size = source.readUnsignedShort();
            byte[] small = packer.small(size);
            source.readFully(small, 0, size);
            packer.readSmall(held, small, 0);
            held.ring = new long[Math.max(8, bytes / 8)];
            for (int at = 0; at < bytes / 8; at++) {
                held.ring[at] = Packed.UNSAFE.getLong(packer.ring, Packed.BASE + 8L * at);
            }
            held.index();
            return held;
        }

        private Object readResolve() {
            return new OfHeld();
        }

        @Override
        public TypeSerializerSnapshot<Held> snapshotConfiguration() {
            return new Snapshot();
        }

        public static final class Snapshot extends SimpleTypeSerializerSnapshot<Held> {
            public Snapshot() {
                super(OfHeld::new);
            }
        }
    }
}
