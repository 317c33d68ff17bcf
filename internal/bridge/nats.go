package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"spoor/internal/notify"
)

const (
	subjectBatch   = 256
	connectTimeout = 5 * time.Second
)

// streamTooLarge is JetStream's error code for a message larger than the
// stream's max_msg_size.
const streamTooLarge = 10054

// subject publishes to a NATS subject.
//
// With JetStream an event counts as taken when a stream has stored it, and the
// stream drops a repetition by its Nats-Msg-Id within its window. Without, it
// counts when the server has answered a ping that was sent behind it: at least
// once up to the server. Whether a subscriber was there then is not known to
// anybody.
type subject struct {
	cfg    *NATS
	signer signer
	conn   *nats.Conn // nil until there is something to send, and after a failure
	stream jetstream.JetStream
}

func newSubject(cfg *NATS, now func() time.Time) (destination, int, error) {
	s := &subject{cfg: cfg, signer: signer{cfg.HMACKeyFile, now}}
	if _, err := s.options(); err != nil {
		return s, 0, err
	}
	return s, subjectBatch, s.signer.check()
}

func (s *subject) options() ([]nats.Option, error) {
	// A lost connection ends the attempt; the loop's next one makes another.
	opts := []nats.Option{nats.Name("spoor"), nats.NoReconnect(), nats.Timeout(connectTimeout), nats.NoEcho()}
	if s.cfg.CA != "" {
		cfg, err := tlsConfig(s.cfg.CA)
		if err != nil {
			return nil, err
		}
		opts = append(opts, nats.Secure(cfg))
	}
	if s.cfg.CredentialsFile != "" {
		if _, err := notify.ReadSecret(s.cfg.CredentialsFile); err != nil {
			return nil, fmt.Errorf("credentialsFile: %w", err)
		}
		opts = append(opts, nats.UserCredentials(s.cfg.CredentialsFile))
	}
	if s.cfg.User != "" {
		password, err := notify.ReadSecret(s.cfg.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("passwordFile: %w", err)
		}
		opts = append(opts, nats.UserInfo(s.cfg.User, password))
	}
	return opts, nil
}

// dialer ends an attempt to connect with its context, which nats.Connect does
// not know.
type dialer struct {
	ctx  context.Context
	stop []func() bool
}

// Dial implements nats.CustomDialer.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: connectTimeout}).DialContext(d.ctx, network, address)
	if err == nil {
		d.stop = append(d.stop, context.AfterFunc(d.ctx, func() { _ = conn.Close() }))
	}
	return conn, err
}

// connected lets the connections outlive the context.
func (d *dialer) connected() {
	for _, stop := range d.stop {
		stop()
	}
}

func (s *subject) connect(ctx context.Context) error {
	if s.conn != nil && s.conn.IsConnected() {
		return nil
	}
	s.disconnect()
	opts, err := s.options()
	if err != nil {
		return err
	}
	d := &dialer{ctx: ctx}
	s.conn, err = nats.Connect(s.cfg.URL, append(opts, nats.SetCustomDialer(d))...)
	d.connected()
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	if s.cfg.JetStream {
		s.stream, err = jetstream.New(s.conn, jetstream.WithPublishAsyncMaxPending(subjectBatch))
	}
	return err
}

func (s *subject) send(ctx context.Context, batch []notify.Message) []error {
	key, err := s.signer.key()
	if err != nil {
		return all(batch, err)
	}
	if err := s.connect(ctx); err != nil {
		s.disconnect()
		return all(batch, err)
	}
	msgs := make([]*nats.Msg, len(batch))
	for i := range batch {
		m := &batch[i]
		msgs[i] = &nats.Msg{Subject: s.cfg.Subject, Data: m.Body, Header: nats.Header{}}
		for _, h := range append(facts(m), s.signer.headers(m, key)...) {
			msgs[i].Header.Set(h.name, h.value)
		}
		msgs[i].Header.Set(nats.MsgIdHdr, m.ID)
	}
	results := s.publish(ctx, msgs)
	for _, err := range results {
		if err != nil && !errors.Is(err, notify.ErrPermanent) {
			s.disconnect()
			break
		}
	}
	return results
}

func (s *subject) publish(ctx context.Context, msgs []*nats.Msg) []error {
	results := make([]error, len(msgs))
	futures := make([]jetstream.PubAckFuture, len(msgs))
	for i, m := range msgs {
		if s.cfg.JetStream {
			// Retries are the loop's.
			futures[i], results[i] = s.stream.PublishMsgAsync(m, jetstream.WithRetryAttempts(0))
		} else {
			results[i] = s.conn.PublishMsg(m)
		}
		if errors.Is(results[i], nats.ErrMaxPayload) {
			results[i] = fmt.Errorf("%w: %w", notify.ErrPermanent, results[i])
		}
	}
	if !s.cfg.JetStream {
		if err := s.conn.FlushWithContext(ctx); err != nil {
			for i := range results {
				results[i] = errors.Join(results[i], err)
			}
		}
		return results
	}
	for i, f := range futures {
		if f == nil {
			continue
		}
		select {
		case <-f.Ok():
		case err := <-f.Err():
			if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == streamTooLarge {
				err = fmt.Errorf("%w: %w", notify.ErrPermanent, err)
			}
			results[i] = err
		case <-ctx.Done():
			results[i] = ctx.Err()
		}
	}
	return results
}

func (s *subject) disconnect() {
	if s.conn != nil {
		s.conn.Close()
	}
	s.conn, s.stream = nil, nil
}

func (s *subject) close() error {
	s.disconnect()
	return nil
}
