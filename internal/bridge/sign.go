package bridge

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"time"

	"spoor/internal/notify"
)

// The names under which every target gets a message's id, the time of the
// attempt and, with a key, the signature: HTTP headers, message attributes or
// record headers (Standard Webhooks specification, "Webhook headers").
const (
	headerID        = "webhook-id"
	headerTimestamp = "webhook-timestamp"
	headerSignature = "webhook-signature"
)

// header is a name and its value.
type header struct{ name, value string }

// signer signs messages with the key in a file: v1 and the base64 of HMAC-SHA256
// over id, timestamp and body with dots between. The file is read at each
// attempt: who changes the key only writes it.
type signer struct {
	file string // "" signs nothing
	now  func() time.Time
}

// check reads the key, so that a wrong file shows at the start.
func (s *signer) check() error {
	_, err := s.key()
	return err
}

func (s *signer) key() ([]byte, error) {
	if s.file == "" {
		return nil, nil
	}
	text, err := notify.ReadSecret(s.file)
	if err != nil {
		return nil, fmt.Errorf("hmacKeyFile: %w", err)
	}
	key, err := decodeKey(text)
	if err != nil {
		return nil, fmt.Errorf("hmacKeyFile %s: %w", s.file, err)
	}
	return key, nil
}

// headers are a message's, with what the event is about first.
func (s *signer) headers(m *notify.Message, key []byte) []header {
	at := strconv.FormatInt(s.now().Unix(), 10)
	out := []header{{headerID, m.ID}, {headerTimestamp, at}}
	if key != nil {
		out = append(out, header{headerSignature, "v1," + sign(key, m.ID, at, m.Body)})
	}
	return out
}

func sign(key []byte, id, timestamp string, body []byte) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(id + "." + timestamp + "."))
	h.Write(body)
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// facts are a message's attributes, in a fixed order, for targets that have
// headers which are looked at without the body.
func facts(m *notify.Message) []header {
	out := make([]header, 0, 8)
	for _, name := range factNames {
		if v := m.Attributes[name]; v != "" {
			out = append(out, header{name, v})
		}
	}
	return out
}

const (
	attrAccount, attrRegion = "account", "region"
)

var factNames = []string{"id", "rule", "source", "detail-type", "account", "region", "event-name"}
