//go:build peers

package bridge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"spoor/internal/record"
)

// These tests run against Apache Kafka and ElasticMQ: `make peers`.

func events(t *testing.T, w *world, n int) []string {
	t.Helper()
	var want []string
	for range n {
		// A journal of its own each time, and ids that no earlier run had.
		want = append(want, nameID(accountID, w.add(t, record.Record{EventID: fmt.Sprintf("%d-%d", time.Now().UnixNano(), w.n)})))
	}
	return want
}

// of are the events among got that are in want.
func of(t *testing.T, got []received, want []string) []received {
	t.Helper()
	known := map[string]bool{}
	for _, id := range want {
		known[id] = true
	}
	return slices.DeleteFunc(got, func(r received) bool { return !known[eventID(t, r)] })
}

// crash sends what is owed and forgets that it did.
func crash(t *testing.T, w *world, rules string, n int) []string {
	t.Helper()
	l := w.loops(t, rules)[0]
	want := events(t, w, n)
	batch, err := l.Source.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Sender.Send(t.Context(), batch.Messages); err != nil {
		t.Fatal(err)
	}
	w.restart(t)
	w.drain(t, w.loops(t, rules)[0])
	return want
}

func TestPeerKafka(t *testing.T) {
	broker := os.Getenv("KAFKA")
	makeTopic(t, broker)
	key, secret := secrets(t)
	plainTarget := fmt.Sprintf(`{"kafka":{"brokers":[%q],"topic":"events","hmacKeyFile":%q}}`, broker, key)
	w := newWorld(t)
	l := w.loops(t, ruleFor(plainTarget))[0]
	want := events(t, w, 2000)
	w.drain(t, l)
	got := of(t, consume(t, []string{broker}), want)
	checkOnce(t, got, want, 1)
	for _, r := range got {
		checkSignature(t, r)
	}
	want = crash(t, w, ruleFor(plainTarget), 20)
	checkOnce(t, of(t, consume(t, []string{broker}), want), want, 2)

	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		w := newWorld(t)
		l := w.loops(t, ruleFor(fmt.Sprintf(`{"kafka":{"brokers":[%q],"topic":"events","sasl":%q,"user":"alice","passwordFile":%q}}`,
			os.Getenv("KAFKA_SASL"), mechanism, secret)))[0]
		want := events(t, w, 5)
		w.drain(t, l)
		checkOnce(t, of(t, consume(t, []string{broker}), want), want, 1)
	}

	// A topic that is made only later gets what was owed to it meanwhile.
	w = newWorld(t)
	l = w.loops(t, ruleFor(fmt.Sprintf(`{"kafka":{"brokers":[%q],"topic":"none-such"}}`, broker)))[0]
	events(t, w, 1)
	if _, err := w.attempt(t.Context(), t, l); !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("an unknown topic: %v", err)
	}
}

func makeTopic(t *testing.T, broker string) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	req := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "events", 3, 1
	req.Topics = append(req.Topics, topic)
	res, err := req.RequestWith(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := kerr.ErrorForCode(res.Topics[0].ErrorCode); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		t.Fatal(err)
	}
}

func TestPeerQueue(t *testing.T) {
	for _, name := range []string{"events", "events.fifo"} {
		t.Run(name, func(t *testing.T) {
			key, secret := secrets(t)
			url := os.Getenv("SQS") + "/000000000000/" + name
			rules := ruleFor(fmt.Sprintf(`{"sqs":{"url":%q,"region":"elasticmq","hmacKeyFile":%q,"credentials":{"accessKeyId":"x","secretKeyFile":%q}}}`, url, key, secret))
			w := newWorld(t)
			l := w.loops(t, rules)[0]
			want := events(t, w, 25)
			w.drain(t, l)
			got := receive(t, url, 25)
			for _, r := range got {
				checkSignature(t, r)
			}
			if name == "events.fifo" {
				checkOnce(t, got, want, 1)
				want := crash(t, w, rules, 7)
				checkOnce(t, receive(t, url, 7), want, 1) // the queue drops repetitions
			} else {
				ids := map[string]bool{}
				for _, r := range got {
					ids[eventID(t, r)] = true
				}
				if len(ids) != 25 || len(of(t, got, want)) != 25 {
					t.Errorf("%d events arrived", len(ids))
				}
			}
		})
	}
}

// receive takes messages until a queue is empty, and n of them were there.
func receive(t *testing.T, url string, n int) []received {
	t.Helper()
	call := func(operation string, in any) []byte {
		body, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, os.Getenv("SQS")+"/", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-amz-json-1.0")
		req.Header.Set("X-Amz-Target", "AmazonSQS."+operation)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		answer, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %v %s", operation, res.Status, err, answer)
		}
		return answer
	}
	var out []received
	for {
		var answer struct {
			Messages []struct {
				Body, ReceiptHandle string
				MessageAttributes   map[string]struct{ StringValue string }
			}
		}
		err := json.Unmarshal(call("ReceiveMessage", map[string]any{"QueueUrl": url, "MaxNumberOfMessages": 10, "MessageAttributeNames": []string{"All"}}), &answer)
		if err != nil {
			t.Fatal(err)
		}
		if len(answer.Messages) == 0 {
			if len(out) != n {
				t.Errorf("%d messages, want %d", len(out), n)
			}
			return out
		}
		for _, m := range answer.Messages {
			h := map[string]string{}
			for name, a := range m.MessageAttributes {
				h[name] = a.StringValue
			}
			out = append(out, received{m.Body, h})
			call("DeleteMessage", map[string]any{"QueueUrl": url, "ReceiptHandle": m.ReceiptHandle})
		}
	}
}
