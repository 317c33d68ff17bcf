package notify

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"spoor/internal/kv"
)

// Paths below which this server answers what SNS messages point to.
const (
	ConfirmPath     = "/_spoor/sns/confirm"
	UnsubscribePath = "/_spoor/sns/unsubscribe"
)

// SNSKey signs SNS messages.
type SNSKey struct {
	Private *rsa.PrivateKey
	// CertificateURL is where the certificate of the key is, for receivers.
	CertificateURL string
	// BaseURL is the server as receivers reach it.
	BaseURL string
}

// snsPost is the body of SNS's post to an HTTP endpoint, its members in SNS's
// order (SNS developer guide, "HTTP/HTTPS notification JSON format" and
// "HTTP/HTTPS subscription confirmation JSON format").
type snsPost struct {
	Type             string
	MessageID        string `json:"MessageId"`
	Token            string `json:",omitempty"`
	TopicARN         string `json:"TopicArn"`
	Subject          string `json:",omitempty"`
	Message          string
	SubscribeURL     string `json:",omitempty"`
	Timestamp        string
	SignatureVersion string
	Signature        string
	SigningCertURL   string
	UnsubscribeURL   string `json:",omitempty"`
}

const snsTime = "2006-01-02T15:04:05.000Z"

// canonical is what the signature is over (SNS developer guide, "Verifying the
// signatures of Amazon SNS messages"): names and values, in the byte order of
// the names.
func (p *snsPost) canonical() []byte {
	pairs := [][2]string{{"Message", p.Message}, {"MessageId", p.MessageID}}
	if p.Type == "Notification" {
		if p.Subject != "" {
			pairs = append(pairs, [2]string{"Subject", p.Subject})
		}
		pairs = append(pairs, [2]string{"Timestamp", p.Timestamp})
	} else {
		pairs = append(pairs, [2]string{"SubscribeURL", p.SubscribeURL}, [2]string{"Timestamp", p.Timestamp}, [2]string{"Token", p.Token})
	}
	pairs = append(pairs, [2]string{"TopicArn", p.TopicARN}, [2]string{"Type", p.Type})
	var b bytes.Buffer
	for _, kv := range pairs {
		b.WriteString(kv[0] + "\n" + kv[1] + "\n")
	}
	return b.Bytes()
}

func (p *snsPost) sign(k *SNSKey, version string) error {
	hash, sum := crypto.SHA256, sha256.Sum256(p.canonical())
	digest := sum[:]
	if version == "1" {
		old := sha1.Sum(p.canonical()) // what signature version 1 is
		hash, digest = crypto.SHA1, old[:]
	}
	sig, err := rsa.SignPKCS1v15(rand.Reader, k.Private, hash, digest)
	if err != nil {
		return fmt.Errorf("signing a message: %w", err)
	}
	p.SignatureVersion, p.SigningCertURL = version, k.CertificateURL
	p.Signature = encodeBase64(sig)
	return nil
}

// subscription sends to one endpoint of a topic.
type subscription struct {
	topic    Topic
	target   string
	arn      string // of the subscription
	version  string
	password string
	client   *http.Client
	key      *SNSKey
	store    *kv.Store
	commit   Committer
	now      func() time.Time

	mu    sync.Mutex
	state subscriptionRow
	ready chan struct{} // gets a value when the endpoint confirms
}

// subscriptionRow is how far a subscription is that wants to be confirmed.
type subscriptionRow struct {
	Version   int       `json:"version"`
	Token     string    `json:"token"`
	MessageID string    `json:"messageId"`
	Made      time.Time `json:"made"`
	Confirmed bool      `json:"confirmed,omitempty"`
}

func subscriptionKey(target string) []byte {
	return kv.Key(kv.SpaceDeliver, "notify-subscription", target)
}

// shortHash tells endpoints apart without showing them.
func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

// subscriptionTarget is the name of a subscription in rows, logs and dead
// letters. It does not show the endpoint's path, which may be a secret.
func subscriptionTarget(t *Topic) string { return topicTarget(t.ARN) + "/" + shortHash(t.Endpoint) }

// topicTarget is the name of what a topic without a subscription is owed.
func topicTarget(arn string) string { return "sns:" + arn }

func newSubscription(t Topic, c *Config, key *SNSKey) (*subscription, error) {
	s := &subscription{topic: t, target: subscriptionTarget(&t), version: t.SignatureVersion, key: key,
		store: c.Store, commit: c.Commit, now: c.Now, ready: make(chan struct{}, 1)}
	if s.version == "" {
		s.version = "2"
	}
	h := shortHash(t.Endpoint)
	s.arn = fmt.Sprintf("%s:%s-%s-%s-%s-%s", t.ARN, h[:8], h[8:12], h[12:16], h[16:20], h[20:])
	var err error
	if s.client, err = NewClient(t.CA); err != nil {
		return nil, err
	}
	if t.PasswordFile != "" {
		if s.password, err = ReadSecret(t.PasswordFile); err != nil {
			return nil, err
		}
	}
	_, err = c.Store.GetRow(subscriptionKey(s.target), &s.state, &s.state.Version, formatVersion)
	return s, err
}

// Close implements Sender.
func (s *subscription) Close() error { s.client.CloseIdleConnections(); return nil }

// Ready implements Waker.
func (s *subscription) Ready() <-chan struct{} { return s.ready }

// Send implements Sender.
func (s *subscription) Send(ctx context.Context, batch []Message) error {
	if err := s.confirmed(ctx); err != nil {
		return err
	}
	for i := range batch {
		m := &batch[i]
		p := snsPost{Type: "Notification", MessageID: m.ID, TopicARN: s.topic.ARN, Subject: m.Subject, Message: string(m.Body),
			Timestamp: m.Time.UTC().Format(snsTime), UnsubscribeURL: s.key.BaseURL + UnsubscribePath + "?" + url.Values{
				"Action": {"Unsubscribe"}, "SubscriptionArn": {s.arn}}.Encode()}
		if err := s.post(ctx, &p); err != nil {
			return err
		}
	}
	return nil
}

func (s *subscription) post(ctx context.Context, p *snsPost) error {
	if err := p.sign(s.key, s.version); err != nil {
		return err
	}
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(p); err != nil {
		return fmt.Errorf("encoding a message: %w", err)
	}
	req, err := http.NewRequest(http.MethodPost, s.topic.Endpoint, &body)
	if err != nil {
		return fmt.Errorf("making a request: %w", err)
	}
	req.Header.Set("Content-Type", "text/plain; charset=UTF-8")
	req.Header.Set("User-Agent", "Amazon Simple Notification Service Agent")
	req.Header.Set("x-amz-sns-message-type", p.Type)
	req.Header.Set("x-amz-sns-message-id", p.MessageID)
	req.Header.Set("x-amz-sns-topic-arn", p.TopicARN)
	if p.Type == "Notification" {
		req.Header.Set("x-amz-sns-subscription-arn", s.arn)
	}
	if s.topic.User != "" {
		req.SetBasicAuth(s.topic.User, s.password)
	}
	if _, err = Do(ctx, s.client, req); p.Type == "Notification" && refusal(err) {
		return fmt.Errorf("%w: %w", ErrPermanent, err)
	}
	return err
}

// refusal reports whether an endpoint's answer ends the attempts: SNS sends
// nothing again after a status of 4xx but 429 (SNS developer guide, "Amazon SNS
// message delivery retries"). A request to confirm does not count; what waits
// for it was not refused.
func refusal(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Status/100 == 4 && status.Status != http.StatusTooManyRequests
}

// confirmed returns nil when the endpoint may get messages. One that must
// confirm first, and has not, is asked to.
//
// Crash story: the token is durable before it goes out, so that an answer to it
// counts after a restart too.
func (s *subscription) confirmed(ctx context.Context) error {
	if !s.topic.Confirm {
		return nil
	}
	s.mu.Lock()
	state := s.state
	if state.Token == "" {
		state = subscriptionRow{Version: formatVersion, Token: newToken(), MessageID: NewID(), Made: s.now().UTC()}
		if err := s.save(state); err != nil {
			s.mu.Unlock()
			return err
		}
	}
	s.mu.Unlock()
	if state.Confirmed {
		return nil
	}
	text := "You have chosen to subscribe to the topic " + s.topic.ARN + ".\nTo confirm the subscription, visit the SubscribeURL included in this message."
	p := snsPost{Type: "SubscriptionConfirmation", MessageID: state.MessageID, Token: state.Token, TopicARN: s.topic.ARN, Message: text,
		SubscribeURL: s.key.BaseURL + ConfirmPath + "?" + url.Values{"Action": {"ConfirmSubscription"}, "TopicArn": {s.topic.ARN}, "Token": {state.Token}}.Encode(),
		Timestamp:    state.Made.Format(snsTime)}
	if err := s.post(ctx, &p); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.state.Confirmed {
		return ErrNotConfirmed
	}
	return nil
}

// save keeps the state; mu is held.
func (s *subscription) save(state subscriptionRow) error {
	b := s.store.NewBatch()
	b.Set(subscriptionKey(s.target), kv.MustJSON(&state))
	if err := s.commit.Commit(b); err != nil {
		return err
	}
	s.state = state
	return nil
}

// newToken makes a confirmation's token, as long as SNS's are.
func newToken() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // does not fail: it ends the process instead (Go 1.24)
	return strings.ToLower(hex.EncodeToString(b[:]))
}
