package notify

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"
	"unicode/utf8"
)

// DeadLetters is the file of the messages that were given up, one JSON object a
// line. Everything in it is synced. It is safe for concurrent use.
type DeadLetters struct {
	mu   sync.Mutex
	file appendFile
}

// OpenDeadLetters opens the file, which is made, for its owner only, when the
// first message is given up.
func OpenDeadLetters(name string) *DeadLetters {
	return &DeadLetters{file: appendFile{name: name, mode: 0o600}}
}

// Name is the file's name.
func (d *DeadLetters) Name() string { return d.file.name }

// deadLetter is a line of the file. Text is the message's body when that is
// UTF-8, Base64 is it when not.
type deadLetter struct {
	Time     time.Time `json:"time"`
	Target   string    `json:"target"`
	Error    string    `json:"error"`
	Attempts int       `json:"attempts"`
	Message  struct {
		ID         string            `json:"id"`
		Seq        uint64            `json:"seq,omitempty"`
		Time       time.Time         `json:"time"`
		Subject    string            `json:"subject,omitempty"`
		Text       *string           `json:"text,omitempty"`
		Base64     []byte            `json:"base64,omitempty"`
		Attributes map[string]string `json:"attributes,omitempty"`
	} `json:"message"`
}

// Add appends messages, durably.
func (d *DeadLetters) Add(target string, attempts int, cause error, at time.Time, batch []Message) error {
	var lines []byte
	for i := range batch {
		m := &batch[i]
		l := deadLetter{Time: at.UTC(), Target: target, Error: cause.Error(), Attempts: attempts}
		l.Message.ID, l.Message.Seq, l.Message.Time, l.Message.Subject, l.Message.Attributes = m.ID, m.Seq, m.Time, m.Subject, m.Attributes
		if utf8.Valid(m.Body) {
			l.Message.Text = new(string(m.Body))
		} else {
			l.Message.Base64 = m.Body
		}
		line, err := json.Marshal(&l)
		if err != nil {
			return fmt.Errorf("encoding a dead letter: %w", err)
		}
		lines = append(append(lines, line...), '\n')
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.file.append(lines)
}

// Close closes the file.
func (d *DeadLetters) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.file.close()
}
