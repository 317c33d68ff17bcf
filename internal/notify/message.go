package notify

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"spoor/internal/kv"
)

// ErrPermanent is in the chain of an error that no repetition can mend: the
// target understood the batch and will never take it.
var ErrPermanent = errors.New("the target refuses this for good")

// RejectedError says that a target took a batch but for some of its messages,
// which it will never take.
type RejectedError struct {
	Indexes []int // in the batch
	Reason  string
}

func (e *RejectedError) Error() string { return e.Reason }

// Message is what a target gets.
type Message struct {
	// ID names the message; it is the same each time it is sent.
	ID string `json:"id"`
	// Seq is the journal's number of the record that the message is or comes
	// from; 0 when there is none.
	Seq uint64 `json:"seq,omitempty"`
	// Time is since when the message is owed: its age counts from here.
	Time       time.Time         `json:"time"`
	Subject    string            `json:"subject,omitempty"`
	Body       []byte            `json:"body"`
	Attributes map[string]string `json:"attributes,omitempty"`
}

// Sender sends one batch to a target; nil means the target acknowledged all of
// it. After any other outcome the whole batch is sent again, unless the error
// is ErrPermanent, or a RejectedError, which acknowledges the rest. A Sender is used by one goroutine at a time; it bounds the
// time of an attempt itself.
type Sender interface {
	Send(ctx context.Context, batch []Message) error
	Close() error
}

// Source is what is owed to one target, in order. It is used by one goroutine.
type Source interface {
	// Next returns what is owed next. A batch without messages means that
	// nothing is owed now. Until Done's batch is committed, Next returns the same
	// messages again, perhaps with further ones behind them.
	Next(ctx context.Context) (Batch, error)
	// Wait returns when more may be owed than Next said last, or with ctx's error.
	Wait(ctx context.Context) error
}

// Batch is a run of messages that are sent together.
type Batch struct {
	Messages []Message
	// Owner is on whose behalf the messages are sent, for Board: a trail's ARN
	// and region, or a rule's name.
	Owner string
	// Done notes in b that the first n messages need no more sending. With n = 0
	// it notes what was passed over, if that is much; it may then write nothing.
	Done func(b *kv.Batch, n int)
}

// NewID makes a message's id, a random UUID.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // does not fail: it ends the process instead (Go 1.24)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
