#!/usr/bin/env bash
# Runs internal/bridge against Apache Kafka and ElasticMQ (an SQS), both from
# Maven, on loopback. Needs a JDK and Maven: test/peers.sh DIR
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mkdir -p "$1" && cd "$1" && pwd)
here=internal/bridge/testdata/peers
mvn -q -f $here/pom.xml dependency:copy-dependencies -DoutputDirectory="$dir/lib"
rm -rf "$dir/kafka"
sed "s#@DIR@#$dir#" $here/kafka.properties >"$dir/kafka.properties"
java -cp "$dir/lib/*" kafka.tools.StorageTool format --standalone -t AAAAAAAAAAAAAAAAAAAAAA -c "$dir/kafka.properties" \
  --add-scram 'SCRAM-SHA-256=[name=alice,password=queue-secret]' \
  --add-scram 'SCRAM-SHA-512=[name=alice,password=queue-secret]' >"$dir/format.log" 2>&1
java -Xmx512m -cp "$dir/lib/*" kafka.Kafka "$dir/kafka.properties" >"$dir/kafka.log" 2>&1 &
kafka=$!
java -Xmx256m -Dconfig.file=$here/elasticmq.conf -cp "$dir/lib/*" org.elasticmq.server.Main >"$dir/elasticmq.log" 2>&1 &
elasticmq=$!
trap 'kill $kafka $elasticmq; wait $kafka $elasticmq 2>/dev/null || true' EXIT
for port in 19092 19094 19324; do
  for _ in $(seq 120); do
    kill -0 $kafka $elasticmq
    if (: >/dev/tcp/127.0.0.1/$port) 2>/dev/null; then continue 2; fi
    sleep 0.5
  done
  echo "nobody listens on port $port" >&2
  exit 1
done
KAFKA=127.0.0.1:19092 KAFKA_SASL=127.0.0.1:19094 SQS=http://127.0.0.1:19324 \
  go test -tags peers -count 1 -v -run 'TestPeer' ./internal/bridge/
