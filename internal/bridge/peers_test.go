package bridge

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"crypto/sha256"

	"spoor/internal/sigv4"
)

const testKey = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// received is what a peer got of one message.
type received struct {
	body    string
	headers map[string]string
}

// peer is a target with faults.
type peer interface {
	// target is the target's settings. key and secret are files.
	target(key, secret string) string
	// refuse makes it take nothing, lose makes it take everything and answer
	// nothing.
	refuse(on bool)
	lose(on bool)
	// got is everything that was taken, in order.
	got(t *testing.T) []received
}

// httpPeer is what webhook and queue have in common.
type httpPeer struct {
	l        *lossy
	mu       sync.Mutex
	refusing bool
	status   int // of a refusal
	taken    []received
	faults   []string // what was wrong with requests
	requests int
}

func (p *httpPeer) refuse(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = on
}

func (p *httpPeer) lose(on bool) { p.l.lose.Store(on) }

func (p *httpPeer) got(t *testing.T) []received {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.faults {
		t.Error(f)
	}
	return slices.Clone(p.taken)
}

func (p *httpPeer) serve(t *testing.T, handle func(w http.ResponseWriter, r *http.Request, body []byte)) {
	p.l = listen(t)
	p.status = http.StatusServiceUnavailable
	s := &httptest.Server{Listener: p.l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		p.mu.Lock()
		defer p.mu.Unlock()
		if err != nil {
			p.faults = append(p.faults, err.Error())
			return
		}
		p.requests++
		if p.refusing {
			w.WriteHeader(p.status)
			return
		}
		handle(w, r, body)
	})}}
	s.Start()
	t.Cleanup(s.Close)
}

type webhookPeer struct{ httpPeer }

func newWebhookPeer(t *testing.T) peer {
	p := &webhookPeer{}
	p.serve(t, func(w http.ResponseWriter, r *http.Request, body []byte) {
		if r.Method != http.MethodPost || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
			p.faults = append(p.faults, "not a POST of JSON")
		}
		h := map[string]string{}
		for _, name := range []string{headerID, headerTimestamp, headerSignature} {
			h[name] = r.Header.Get(name)
		}
		p.taken = append(p.taken, received{string(body), h})
		w.WriteHeader(http.StatusNoContent)
	})
	return p
}

func (p *webhookPeer) target(key, _ string) string {
	return fmt.Sprintf(`{"webhook":{"url":"http://%s/hook?x=1","hmacKeyFile":%q}}`, p.l.Addr(), key)
}

// queuePeer is a queue as SQS's API reference has it: it verifies signatures and
// takes no batch that SQS would not.
type queuePeer struct {
	httpPeer
	name    string
	partial func(index int) (code string, senderFault, silent bool)
	dedup   map[string]bool
}

func newQueuePeer(t *testing.T, name string) *queuePeer {
	p := &queuePeer{name: name, dedup: map[string]bool{}}
	p.serve(t, func(w http.ResponseWriter, r *http.Request, body []byte) {
		if err := p.batch(w, r, body); err != nil {
			p.faults = append(p.faults, err.Error())
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	return p
}

func (p *queuePeer) batch(w http.ResponseWriter, r *http.Request, body []byte) error {
	sum := sha256.Sum256(body)
	if _, err := sigv4.Verify(r, func(id, _ string) (string, error) {
		if id != "AKIAQUEUE" {
			return "", errors.New("unknown key")
		}
		return "queue-secret", nil
	}, sigv4.Options{Now: time.Now(), Skew: time.Minute, BodySHA256: hex.EncodeToString(sum[:]), Region: "us-east-1", Service: "sqs"}); err != nil {
		return fmt.Errorf("the signature: %w", err)
	}
	if r.Header.Get("X-Amz-Target") != "AmazonSQS.SendMessageBatch" || r.Header.Get("Content-Type") != "application/x-amz-json-1.0" || r.URL.Path != "/" {
		return fmt.Errorf("not SendMessageBatch: %v", r.Header)
	}
	var in struct {
		QueueURL string `json:"QueueUrl"`
		Entries  []struct {
			ID                string `json:"Id"`
			MessageBody       string
			MessageAttributes map[string]struct{ DataType, StringValue string }
			Group             string `json:"MessageGroupId"`
			Dedup             string `json:"MessageDeduplicationId"`
		}
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return err
	}
	if in.QueueURL != p.url() || len(in.Entries) == 0 || len(in.Entries) > 10 {
		return fmt.Errorf("queue %s, %d entries", in.QueueURL, len(in.Entries))
	}
	out := map[string][]map[string]any{"Successful": {}, "Failed": {}}
	ids := map[string]bool{}
	size := 0
	for i, e := range in.Entries {
		size += len(e.MessageBody)
		if ids[e.ID] {
			return errors.New("BatchEntryIdsNotDistinct")
		}
		ids[e.ID] = true
		fifo := strings.HasSuffix(p.name, ".fifo")
		if fifo != (e.Group != "") || fifo != (e.Dedup != "") {
			return fmt.Errorf("group %q and deduplication %q for %s", e.Group, e.Dedup, p.name)
		}
		if p.partial != nil {
			code, fault, silent := p.partial(i)
			if silent {
				continue
			}
			if code != "" {
				out["Failed"] = append(out["Failed"], map[string]any{"Id": e.ID, "Code": code, "SenderFault": fault})
				continue
			}
		}
		if !fifo || !p.dedup[e.Dedup] {
			p.dedup[e.Dedup] = true
			h := map[string]string{}
			for name, a := range e.MessageAttributes {
				h[name] = a.StringValue
			}
			p.taken = append(p.taken, received{e.MessageBody, h})
		}
		sum := md5.Sum([]byte(e.MessageBody))
		out["Successful"] = append(out["Successful"], map[string]any{"Id": e.ID, "MessageId": "m", "MD5OfMessageBody": hex.EncodeToString(sum[:])})
	}
	if size > 256<<10 {
		return errors.New("BatchRequestTooLong")
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	return json.NewEncoder(w).Encode(out)
}

func (p *queuePeer) url() string { return fmt.Sprintf("http://%s/123456789012/%s", p.l.Addr(), p.name) }

func (p *queuePeer) target(key, secret string) string {
	return fmt.Sprintf(`{"sqs":{"url":%q,"region":"us-east-1","hmacKeyFile":%q,"credentials":{"accessKeyId":"AKIAQUEUE","secretKeyFile":%q}}}`, p.url(), key, secret)
}

// kafkaPeer is franz-go's Kafka for tests.
type kafkaPeer struct {
	l       *lossy
	cluster *kfake.Cluster
	refused atomic.Bool
	options string
}

func newKafkaPeer(t *testing.T, opts ...kfake.Opt) *kafkaPeer {
	p := &kafkaPeer{}
	opts = append(opts, kfake.NumBrokers(1), kfake.SeedTopics(3, "events"), kfake.ListenFn(func(network, address string) (net.Listener, error) {
		l, err := net.Listen(network, address)
		p.l = &lossy{Listener: l}
		return p.l, err
	}))
	var err error
	if p.cluster, err = kfake.NewCluster(opts...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.cluster.Close)
	p.cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		p.cluster.KeepControl()
		if !p.refused.Load() {
			return nil, nil, false
		}
		in := req.(*kmsg.ProduceRequest)
		out := in.ResponseKind().(*kmsg.ProduceResponse)
		for _, topic := range in.Topics {
			answer := kmsg.NewProduceResponseTopic()
			answer.Topic, answer.TopicID = topic.Topic, topic.TopicID
			for _, part := range topic.Partitions {
				a := kmsg.NewProduceResponseTopicPartition()
				a.Partition, a.ErrorCode = part.Partition, kerr.TopicAuthorizationFailed.Code
				answer.Partitions = append(answer.Partitions, a)
			}
			out.Topics = append(out.Topics, answer)
		}
		return out, nil, true
	})
	return p
}

func (p *kafkaPeer) refuse(on bool) { p.refused.Store(on) }
func (p *kafkaPeer) lose(on bool)   { p.l.lose.Store(on) }

func (p *kafkaPeer) target(key, _ string) string {
	return fmt.Sprintf(`{"kafka":{"brokers":[%q],"topic":"events","hmacKeyFile":%q%s}}`, p.cluster.ListenAddrs()[0], key, p.options)
}

func (p *kafkaPeer) got(t *testing.T) []received { return consume(t, p.cluster.ListenAddrs()) }

// consume reads a topic to its end.
func consume(t *testing.T, brokers []string, opts ...kgo.Opt) []received {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("events"), kgo.FetchMaxWait(50*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	end := int64(0)
	req := kmsg.NewPtrListOffsetsRequest()
	for i := range int32(3) {
		part := kmsg.NewListOffsetsRequestTopicPartition()
		part.Partition, part.Timestamp = i, -1
		req.Topics = appendPartition(req.Topics, part)
	}
	for _, shard := range c.RequestSharded(ctx, req) {
		if shard.Err != nil {
			t.Fatal(shard.Err)
		}
		for _, topic := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, part := range topic.Partitions {
				end += part.Offset
			}
		}
	}
	var out []received
	for int64(len(out)) < end {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			h := map[string]string{"key": string(r.Key)}
			for _, x := range r.Headers {
				h[x.Key] = string(x.Value)
			}
			out = append(out, received{string(r.Value), h})
		})
	}
	return out
}

func appendPartition(topics []kmsg.ListOffsetsRequestTopic, part kmsg.ListOffsetsRequestTopicPartition) []kmsg.ListOffsetsRequestTopic {
	if len(topics) == 0 {
		topic := kmsg.NewListOffsetsRequestTopic()
		topic.Topic = "events"
		topics = append(topics, topic)
	}
	topics[0].Partitions = append(topics[0].Partitions, part)
	return topics
}

// natsPeer is a NATS server in the process, behind a proxy that can lose its
// answers.
type natsPeer struct {
	server *server.Server
	l      *lossy
	stream bool
	down   atomic.Bool
	conn   *nats.Conn
	js     jetstream.JetStream

	mu    sync.Mutex
	taken []received // without a stream
}

func newNATSPeer(t *testing.T, stream bool) *natsPeer {
	t.Helper()
	p := &natsPeer{stream: stream, l: listen(t)}
	var err error
	p.server, err = server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, JetStream: stream, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	p.server.Start()
	t.Cleanup(func() { p.server.Shutdown(); p.server.WaitForShutdown() })
	if !p.server.ReadyForConnections(20 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	if p.conn, err = nats.Connect(p.server.ClientURL()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.conn.Close)
	go p.proxy()
	t.Cleanup(func() { _ = p.l.Close() })
	if !stream {
		_, err = p.conn.Subscribe("trail.events", func(m *nats.Msg) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.taken = append(p.taken, fromNATS(m.Data, m.Header))
		})
		if err == nil {
			err = p.conn.Flush()
		}
	} else if p.js, err = jetstream.New(p.conn); err == nil {
		_, err = p.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "TRAIL", Subjects: []string{"trail.>"}, Storage: jetstream.MemoryStorage})
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func fromNATS(data []byte, header nats.Header) received {
	h := map[string]string{}
	for name := range header {
		h[name] = header.Get(name)
	}
	return received{string(data), h}
}

func (p *natsPeer) proxy() {
	for {
		client, err := p.l.Listener.Accept()
		if err != nil {
			return
		}
		if p.down.Load() {
			_ = client.Close()
			continue
		}
		srv, err := net.Dial("tcp", p.server.Addr().String())
		if err != nil {
			_ = client.Close()
			continue
		}
		go func() { _, _ = io.Copy(srv, client); _ = srv.Close() }()
		go func() { _, _ = io.Copy(swallow{client, p.l}, srv); _ = client.Close() }()
	}
}

// swallow ends a connection, while lose is set, instead of passing on what
// acknowledges anything.
type swallow struct {
	net.Conn
	l *lossy
}

func (s swallow) Write(b []byte) (int, error) {
	if s.l.lose.Load() {
		_ = s.Close()
		return 0, net.ErrClosed
	}
	return s.Conn.Write(b)
}

func (p *natsPeer) refuse(on bool) { p.down.Store(on) }
func (p *natsPeer) lose(on bool)   { p.l.lose.Store(on) }

func (p *natsPeer) target(key, _ string) string {
	return fmt.Sprintf(`{"nats":{"url":"nats://%s","subject":"trail.events","jetstream":%v,"hmacKeyFile":%q}}`, p.l.Addr(), p.stream, key)
}

func (p *natsPeer) got(t *testing.T) []received {
	t.Helper()
	if !p.stream {
		if err := p.conn.Flush(); err != nil { // what is under way to the subscriber arrives before the answer
			t.Fatal(err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		return slices.Clone(p.taken)
	}
	s, err := p.js.Stream(t.Context(), "TRAIL")
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []received
	for seq := uint64(1); seq <= info.State.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fromNATS(m.Data, m.Header))
	}
	return out
}

// secrets writes the files that peers' settings name.
func secrets(t *testing.T) (key, secret string) {
	t.Helper()
	dir := t.TempDir()
	key, secret = filepath.Join(dir, "key"), filepath.Join(dir, "secret")
	if err := errors.Join(os.WriteFile(key, []byte(testKey+"\n"), 0o600), os.WriteFile(secret, []byte("queue-secret\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	return key, secret
}
