package notify

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"

	"spoor/internal/kv"
)

// Outbox is messages that are owed, as rows: for who has no position in the
// journal. It is safe for concurrent use.
type Outbox struct {
	store  *kv.Store
	mu     sync.Mutex
	queues map[string]*queue
}

// queue is one target's rows. Numbers order them; what one goroutine owes is
// sent in the order in which it was owed.
type queue struct {
	store  *kv.Store
	target string
	wake   chan struct{}
	next   uint64 // guarded by Outbox.mu
}

type owedRow struct {
	Version int     `json:"version"`
	Owner   string  `json:"owner,omitempty"`
	Message Message `json:"message"`
}

func outboxPrefix(parts ...string) []byte {
	return kv.Key(kv.SpaceDeliver, append([]string{"notify-owed"}, parts...)...)
}

// OpenOutbox reads which targets are owed something.
func OpenOutbox(store *kv.Store) (*Outbox, error) {
	o := &Outbox{store: store, queues: map[string]*queue{}}
	prefix := outboxPrefix()
	err := store.Scan(prefix, func(k, _ []byte) (bool, error) {
		target, n, ok := kv.DecodeString(k[len(prefix):])
		if !ok || len(n) != 8 {
			return false, fmt.Errorf("the key %q is damaged", k)
		}
		o.queue(target).next = binary.BigEndian.Uint64(n) + 1
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading what is owed: %w", err)
	}
	return o, nil
}

// queue finds or makes a target's queue; mu is held or nobody else knows o.
func (o *Outbox) queue(target string) *queue {
	q := o.queues[target]
	if q == nil {
		q = &queue{store: o.store, target: target, wake: make(chan struct{}, 1)}
		o.queues[target] = q
	}
	return q
}

// Targets lists the targets that are or were owed something.
func (o *Outbox) Targets() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []string
	for t := range o.queues {
		out = append(out, t)
	}
	return out
}

// Owe notes in b that a target is owed a message. The returned function is
// called once b is committed: it wakes who sends.
func (o *Outbox) Owe(b *kv.Batch, target, owner string, m Message) (committed func()) {
	o.mu.Lock()
	q := o.queue(target)
	n := q.next
	q.next++
	o.mu.Unlock()
	b.Set(kv.AppendUint64(outboxPrefix(target), n), kv.MustJSON(owedRow{formatVersion, owner, m}))
	return func() {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

// Source is what a target is owed: one message at a time.
func (o *Outbox) Source(target string) Source {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.queue(target)
}

func (q *queue) Next(context.Context) (Batch, error) {
	var out Batch
	err := q.store.Scan(outboxPrefix(q.target), func(k, v []byte) (bool, error) {
		var row owedRow
		if err := kv.DecodeRow(v, &row, &row.Version, formatVersion); err != nil {
			return false, err
		}
		key := append([]byte(nil), k...)
		out = Batch{Messages: []Message{row.Message}, Owner: row.Owner, Done: func(b *kv.Batch, n int) {
			if n > 0 {
				b.Delete(key)
			}
		}}
		return false, nil
	})
	if err != nil {
		return out, fmt.Errorf("reading what %s is owed: %w", q.target, err)
	}
	return out, nil
}

func (q *queue) Wait(ctx context.Context) error {
	select {
	case <-q.wake:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// move gives in b what one target is owed to others. It is for the start, when
// nobody sends yet.
func (o *Outbox) move(b *kv.Batch, from string, to []string) error {
	prefix := outboxPrefix(from)
	err := o.store.Scan(prefix, func(k, v []byte) (bool, error) {
		var row owedRow
		if err := kv.DecodeRow(v, &row, &row.Version, formatVersion); err != nil {
			return false, err
		}
		for _, target := range to {
			o.Owe(b, target, row.Owner, row.Message)
		}
		b.Delete(k)
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("reading what %s is owed: %w", from, err)
	}
	o.mu.Lock()
	delete(o.queues, from)
	o.mu.Unlock()
	return nil
}
