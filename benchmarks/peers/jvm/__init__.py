"""Kafka Streams and Flink with the peers' job, in Java: built under ``.peers/jvm`` by the machine's Maven and JDK."""
