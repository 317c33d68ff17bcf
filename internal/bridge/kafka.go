package bridge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"spoor/internal/notify"
)

const (
	topicBatch = 256
	// topicTimeout is how long a broker may take for a batch; it leaves time
	// within an attempt to give it up.
	topicTimeout = attemptTimeout - 5*time.Second
)

// topic produces to a Kafka topic: an event counts as taken when all in-sync
// replicas have it. Its key is account and region, so that theirs keep their
// order within a partition.
type topic struct {
	cfg    *Kafka
	signer signer
	tls    *tls.Config
	client *kgo.Client // nil until there is something to send, and after a failure
}

func newTopic(cfg *Kafka, now func() time.Time) (destination, int, error) {
	t := &topic{cfg: cfg, signer: signer{cfg.HMACKeyFile, now}}
	var err error
	if cfg.TLS {
		if t.tls, err = tlsConfig(cfg.CA); err != nil {
			return t, 0, err
		}
	}
	if _, err := t.mechanism(); err != nil {
		return t, 0, err
	}
	return t, topicBatch, t.signer.check()
}

// tlsConfig checks certificates against those in a file, or the system's.
func tlsConfig(caFile string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	cfg.RootCAs = x509.NewCertPool()
	if !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca: %s holds no certificate", caFile)
	}
	return cfg, nil
}

func (t *topic) mechanism() (sasl.Mechanism, error) {
	if t.cfg.SASL == "" {
		return nil, nil
	}
	password, err := notify.ReadSecret(t.cfg.PasswordFile)
	if err != nil {
		return nil, fmt.Errorf("passwordFile: %w", err)
	}
	switch t.cfg.SASL {
	case "SCRAM-SHA-256":
		return scram.Auth{User: t.cfg.User, Pass: password}.AsSha256Mechanism(), nil
	case "SCRAM-SHA-512":
		return scram.Auth{User: t.cfg.User, Pass: password}.AsSha512Mechanism(), nil
	}
	return plain.Auth{User: t.cfg.User, Pass: password}.AsMechanism(), nil
}

func (t *topic) connect() error {
	opts := []kgo.Opt{
		kgo.SeedBrokers(t.cfg.Brokers...), kgo.ClientID("spoor"), kgo.DefaultProduceTopic(t.cfg.Topic),
		kgo.RequiredAcks(kgo.AllISRAcks()), // with the idempotent producer, which is the default
		kgo.ProducerBatchMaxBytes(1_000_012), kgo.MaxBufferedRecords(topicBatch), kgo.ManualFlushing(),
		kgo.RecordDeliveryTimeout(topicTimeout), kgo.ProduceRequestTimeout(10 * time.Second), kgo.DialTimeout(5 * time.Second),
		kgo.RetryTimeout(topicTimeout), kgo.UnknownTopicRetries(1), kgo.AllowIdempotentProduceCancellation(),
	}
	if t.tls != nil {
		opts = append(opts, kgo.DialTLSConfig(t.tls))
	}
	mechanism, err := t.mechanism()
	if err != nil {
		return err
	}
	if mechanism != nil {
		opts = append(opts, kgo.SASL(mechanism))
	}
	t.client, err = kgo.NewClient(opts...)
	return err
}

func (t *topic) send(ctx context.Context, batch []notify.Message) []error {
	key, err := t.signer.key()
	if err != nil {
		return all(batch, err)
	}
	if t.client == nil {
		if err := t.connect(); err != nil {
			return all(batch, fmt.Errorf("making a client: %w", err))
		}
	}
	type result struct {
		index int
		err   error
	}
	settled := make(chan result, len(batch))
	for i := range batch {
		m := &batch[i]
		r := &kgo.Record{Key: []byte(m.Attributes[attrAccount] + "/" + m.Attributes[attrRegion]), Value: m.Body, Timestamp: m.Time}
		for _, h := range append(facts(m), t.signer.headers(m, key)...) {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.name, Value: []byte(h.value)})
		}
		t.client.TryProduce(ctx, r, func(_ *kgo.Record, err error) { settled <- result{i, err} })
	}
	flush, cancel := context.WithTimeout(ctx, topicTimeout)
	defer cancel()
	flushErr := t.client.Flush(flush)
	results := all(batch, errors.Join(errors.New("the brokers did not answer in time"), flushErr))
	failed := flushErr != nil
	for range len(settled) {
		r := <-settled
		results[r.index] = topicError(r.err)
		failed = failed || r.err != nil && !errors.Is(results[r.index], notify.ErrPermanent)
	}
	if failed {
		// What of it may still be under way belongs to this producer. The next
		// attempt has one of its own.
		t.disconnect()
	}
	return results
}

// topicError tells apart what no repetition can mend.
func topicError(err error) error {
	for _, e := range []error{kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", notify.ErrPermanent, err)
		}
	}
	return err
}

func (t *topic) disconnect() {
	if t.client != nil {
		t.client.Close()
		t.client = nil
	}
}

func (t *topic) close() error {
	t.disconnect()
	return nil
}
