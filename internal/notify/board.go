package notify

import (
	"sync"
	"time"

	"spoor/internal/kv"
)

// Kinds of notifications, as Board files them.
const (
	KindSNS  = "sns"
	KindLogs = "logs"
	KindRule = "rule"
)

// Status is how sending on behalf of an owner stands. Zero times mean never.
type Status struct {
	Version     int       `json:"version"`
	LastSuccess time.Time `json:"lastSuccess,omitzero"`
	LastAttempt time.Time `json:"lastAttempt,omitzero"`
	LastError   string    `json:"lastError,omitempty"` // Code of the last attempt; "" when it succeeded
}

// Board keeps each owner's status, durably: it is written in the batch of what
// it tells of. It is safe for concurrent use.
type Board struct {
	store *kv.Store
	mu    sync.Mutex
	known map[[2]string]Status
}

// NewBoard makes a Board over what the store has.
func NewBoard(store *kv.Store) *Board { return &Board{store: store, known: map[[2]string]Status{}} }

func boardKey(kind, owner string) []byte {
	return kv.Key(kv.SpaceDeliver, "notify-status", kind, owner)
}

// Get returns an owner's status.
func (b *Board) Get(kind, owner string) (Status, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.get(kind, owner)
}

func (b *Board) get(kind, owner string) (Status, error) {
	if s, ok := b.known[[2]string{kind, owner}]; ok {
		return s, nil
	}
	var s Status
	if _, err := b.store.GetRow(boardKey(kind, owner), &s, &s.Version, formatVersion); err != nil {
		return Status{}, err
	}
	return s, nil
}

func (b *Board) succeeded(batch *kv.Batch, kind, owner string, at time.Time) {
	b.update(batch, kind, owner, func(s *Status) { s.LastSuccess, s.LastAttempt, s.LastError = at, at, "" })
}

func (b *Board) failed(batch *kv.Batch, kind, owner string, at time.Time, cause error) {
	b.update(batch, kind, owner, func(s *Status) { s.LastAttempt, s.LastError = at, Code(cause) })
}

// update changes an owner's status; nobody is told of messages without an owner.
func (b *Board) update(batch *kv.Batch, kind, owner string, fn func(*Status)) {
	if owner == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s, err := b.get(kind, owner)
	if err != nil {
		s = Status{} // what cannot be read is replaced
	}
	s.Version = formatVersion
	fn(&s)
	b.known[[2]string{kind, owner}] = s
	batch.Set(boardKey(kind, owner), kv.MustJSON(&s))
}

// Forget removes an owner's status in batch.
func (b *Board) Forget(batch *kv.Batch, kind, owner string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.known, [2]string{kind, owner})
	batch.Delete(boardKey(kind, owner))
}
