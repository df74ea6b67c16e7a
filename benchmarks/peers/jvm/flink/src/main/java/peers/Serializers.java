package peers;

import java.io.IOException;
import java.util.Arrays;
import org.apache.flink.api.common.serialization.SerializerConfig;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** Hand-written serializers: nothing of Flink's generic ones is in the way. */
final class Serializers {
    private Serializers() {}

    /** A user's name as bytes, ready to be a key. */
    public static final class Key {
        final byte[] name;
        private final int hash;

        Key(byte[] name) {
            this.name = name;
            hash = Arrays.hashCode(name);
        }

        @Override
        public int hashCode() {
            return hash;
        }

        @Override
        public boolean equals(Object other) {
            return other == this
                    || other instanceof Key that && hash == that.hash && Arrays.equals(name, that.name);
        }
    }

    /** What Kafka gave or is to get: key and value. */
    public static final class Raw {
        Key key;
        byte[] value;

        Raw(Key key, byte[] value) {
            this.key = key;
            this.value = value;
        }
    }

    /** What the serializers have in common: values are of changing length and are not copied needlessly. */
    abstract static class Base<T> extends TypeSerializer<T> {
        @Override
        public boolean isImmutableType() {
            return false;
        }

        @Override
        public T copy(T from) {
            return from;
        }

        @Override
        public T copy(T from, T reuse) {
            return copy(from);
        }

        @Override
        public int getLength() {
            return -1;
        }

        @Override
        public T deserialize(T reuse, DataInputView source) throws IOException {
            return deserialize(source);
        }

        @Override
        public void copy(DataInputView source, DataOutputView target) throws IOException {
            serialize(deserialize(source), target);
        }

        @Override
        public boolean equals(Object other) {
            return other != null && other.getClass() == getClass();
        }

        @Override
        public int hashCode() {
            return getClass().hashCode();
        }
    }

    private static void writeBytes(byte[] bytes, DataOutputView target) throws IOException {
        target.writeShort(bytes.length);
        target.write(bytes, 0, bytes.length);
    }

    private static byte[] readBytes(DataInputView source) throws IOException {
        byte[] bytes = new byte[source.readUnsignedShort()];
        source.readFully(bytes, 0, bytes.length);
        return bytes;
    }

    public static final class OfKey extends Base<Key> {
        @Override
        public boolean isImmutableType() {
            return true;
        }

        @Override
        public TypeSerializer<Key> duplicate() {
            return this;
        }

        @Override
        public Key createInstance() {
            return new Key(new byte[0]);
        }

        @Override
        public void serialize(Key key, DataOutputView target) throws IOException {
            writeBytes(key.name, target);
        }

        @Override
        public Key deserialize(DataInputView source) throws IOException {
            return new Key(readBytes(source));
        }

        @Override
        public TypeSerializerSnapshot<Key> snapshotConfiguration() {
            return new Snapshot();
        }

        public static final class Snapshot extends SimpleTypeSerializerSnapshot<Key> {
            public Snapshot() {
                super(OfKey::new);
            }
        }
    }

    public static final class OfRaw extends Base<Raw> {
        @Override
        public TypeSerializer<Raw> duplicate() {
            return this;
        }

        @Override
        public Raw createInstance() {
            return new Raw(new Key(new byte[0]), new byte[0]);
        }

        @Override
        public void serialize(Raw raw, DataOutputView target) throws IOException {
            writeBytes(raw.key.name, target);
            target.writeInt(raw.value.length);
            target.write(raw.value, 0, raw.value.length);
        }

        @Override
        public Raw deserialize(DataInputView source) throws IOException {
            Key key = new Key(readBytes(source));
            byte[] value = new byte[source.readInt()];
            source.readFully(value, 0, value.length);
            return new Raw(key, value);
        }

        @Override
        public TypeSerializerSnapshot<Raw> snapshotConfiguration() {
            return new Snapshot();
        }

        public static final class Snapshot extends SimpleTypeSerializerSnapshot<Raw> {
            public Snapshot() {
                super(OfRaw::new);
            }
        }
    }

    /** Type information that knows its serializer, and no more. */
    abstract static class Type<T> extends TypeInformation<T> {
        private final Class<T> type;

        Type(Class<T> type) {
            this.type = type;
        }

        @Override
        public boolean isBasicType() {
            return false;
        }

        @Override
        public boolean isTupleType() {
            return false;
        }

        @Override
        public int getArity() {
            return 1;
        }

        @Override
        public int getTotalFields() {
            return 1;
        }

        @Override
        public Class<T> getTypeClass() {
            return type;
        }

        @Override
        public boolean isKeyType() {
            return true;
        }

        @Override
        public String toString() {
            return type.getSimpleName();
        }

        @Override
        public boolean equals(Object other) {
            return other != null && other.getClass() == getClass();
        }

        @Override
        public int hashCode() {
            return getClass().hashCode();
        }

        @Override
        public boolean canEqual(Object other) {
            return other != null && other.getClass() == getClass();
        }
    }

    public static final class KeyType extends Type<Key> {
        KeyType() {
            super(Key.class);
        }

        @Override
        public TypeSerializer<Key> createSerializer(SerializerConfig config) {
            return new OfKey();
        }
    }

    public static final class RawType extends Type<Raw> {
        RawType() {
            super(Raw.class);
        }

        @Override
        public TypeSerializer<Raw> createSerializer(SerializerConfig config) {
            return new OfRaw();
        }
    }
}
