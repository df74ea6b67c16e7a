package peers;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonFactoryBuilder;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.core.util.JsonRecyclerPools;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.zip.CRC32;

/** One event as the job reads it; an object is filled again and again, it belongs to one thread. */
public final class Event {
    private static final JsonFactory FACTORY = new JsonFactoryBuilder()
            .enable(StreamReadFeature.USE_FAST_DOUBLE_PARSER)
            .disable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
            .recyclerPool(JsonRecyclerPools.threadLocalPool())
            .build();
    static final int CATEGORY_BUCKETS = 64;
    private static final int CACHED = 65_536;

    public String user;
    public String kind;
    public double time;
    public String id;
    public String category;
    public double amount;
    public double dwell;

    private final Map<String, Integer> categoryBuckets = new HashMap<>();

    /** Jackson's streaming parser: values are taken as they come, what the job does not read is skipped. */
    public void parse(byte[] json, int offset, int length) throws IOException {
        user = kind = id = null;
        category = "";
        time = Double.NaN;
        amount = dwell = 0.0;
        try (JsonParser parser = FACTORY.createParser(json, offset, length)) {
            if (parser.nextToken() != JsonToken.START_OBJECT) {
                throw new IOException("no object");
            }
            String name;
            while ((name = parser.nextFieldName()) != null) {
                switch (name) {
                    case "user" -> user = parser.nextTextValue();
                    case "kind" -> kind = parser.nextTextValue();
                    case "time" -> {
                        parser.nextToken();
                        time = parser.getDoubleValue();
                    }
                    case "id" -> id = parser.nextTextValue();
                    case "category" -> category = parser.nextTextValue();
                    case "amount" -> {
                        parser.nextToken();
                        amount = parser.getDoubleValue();
                    }
                    case "dwell" -> {
                        parser.nextToken();
                        dwell = parser.getDoubleValue();
                    }
                    default -> {
                        parser.nextToken();
                        parser.skipChildren();
                    }
                }
            }
        }
        if (user == null || kind == null || id == null || category == null || Double.isNaN(time)) {
            throw new IOException("not an event");
        }
    }

    int categoryBucket() {
        Integer known = categoryBuckets.get(category);
        if (known == null) {
            CRC32 crc = new CRC32();
            crc.update(category.getBytes(StandardCharsets.UTF_8));
            known = (int) (crc.getValue() % CATEGORY_BUCKETS);
            if (categoryBuckets.size() >= CACHED) {
                categoryBuckets.clear();
            }
            categoryBuckets.put(category, known);
        }
        return known;
    }

    /** 64 bits of the id, never 0. */
    long mark() {
        String text = id;
        long hash = 0x9E3779B97F4A7C15L ^ text.length();
        for (int at = 0, end = text.length(); at < end; at++) {
            hash = (hash ^ text.charAt(at)) * 0x100000001B3L;
        }
        hash ^= hash >>> 32;
        hash *= 0xD6E8FEB86659FD93L;
        hash ^= hash >>> 32;
        return hash == 0 ? 1 : hash;
    }
}
