package bridge

import (
	"bytes"
	"context"
	"log/slog"
	"time"

	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/notify"
	"spoor/internal/record"

	"spoor/internal/eventpattern"
)

const (
	// cursorEvery is how many records without a match are passed over at most
	// before the cursor moves all the same.
	cursorEvery = 16384
	// scanAtOnce bounds one call of Next, so that it sees the end of its context.
	scanAtOnce = 16384
	// maxPending bounds the bytes of one batch but for its last event, and so what
	// a target that fails keeps in memory.
	maxPending = 256 << 10
)

// source is what one target of one rule is owed: the journal behind its cursor,
// as far as the rule selects it. Its goroutine is that of its loop.
type source struct {
	rule    *Rule
	target  *Target
	steps   []step // of InputPath
	filter  eventpattern.Filter
	cursor  string
	journal *journal.Journal
	log     *slog.Logger
	now     func() time.Time
	limit   int // messages in a batch

	// The record under way is kept here, where it needs no memory of its own.
	item   journal.Item
	event  event
	buffer []byte // the event

	durable uint64 // the cursor on disk
	scanned uint64 // all up to here is in pending or needs no sending
	pending []owed
}

// owed is a message and whether it needs no more sending.
type owed struct {
	message notify.Message
	settled bool
}

// Next implements notify.Source.
func (s *source) Next(ctx context.Context) (notify.Batch, error) {
	if err := s.fill(ctx); err != nil {
		return notify.Batch{}, err
	}
	batch := notify.Batch{Owner: s.rule.Name}
	for i := range s.pending {
		if !s.pending[i].settled {
			batch.Messages = append(batch.Messages, s.pending[i].message)
		}
	}
	messages := batch.Messages
	batch.Done = func(b *kv.Batch, n int) { s.done(b, messages[:n]) }
	if len(batch.Messages) == 0 && s.scanned-s.durable < cursorEvery {
		batch.Done = nil
	}
	return batch, nil
}

// fill reads on until a batch is full or the journal ends.
func (s *source) fill(ctx context.Context) error {
	size := 0
	for i := range s.pending {
		size += len(s.pending[i].message.Body)
	}
	if len(s.pending) >= s.limit || size >= maxPending || ctx.Err() != nil {
		return nil
	}
	from := s.scanned
	return s.journal.Read(from, from+scanAtOnce, func(it journal.Item) (bool, error) {
		s.scanned = it.Seq
		s.item = it
		m, ok := s.message(&s.item)
		if !ok {
			return true, nil
		}
		s.pending = append(s.pending, owed{message: m})
		size += len(m.Body)
		return len(s.pending) < s.limit && size < maxPending, nil
	})
}

// message makes a record's message, if the rule selects it.
func (s *source) message(it *journal.Item) (m notify.Message, ok bool) {
	if s.rule.Account != "" && !it.Is(record.FieldAccount, s.rule.Account) || s.rule.Region != "" && !it.Is(record.FieldRegion, s.rule.Region) {
		return m, false
	}
	s.event = event{item: it}
	e := &s.event
	// An insight has no name of its own; then only the whole event can tell.
	if !e.describe() || e.read && s.rule.State != EnabledRead || e.eventName != "" && !s.filter.May(e.known) {
		return m, false
	}
	eventID := it.Field(record.FieldEventID)
	account, region := it.Field(record.FieldAccount), it.Field(record.FieldRegion)
	id := nameID(account, eventID)
	s.buffer = e.append(s.buffer[:0], id)
	if !s.rule.pattern.Match(s.buffer) {
		return m, false
	}
	body := s.buffer
	if len(body) > maxEvent {
		s.log.Warn("an event is too large to be sent to a rule's target", "rule", s.rule.Name, "eventID", eventID, "bytes", len(body), "most", maxEvent)
		return m, false
	}
	switch {
	case len(s.target.Input) > 0:
		body = s.target.Input
	case s.steps != nil:
		body = bytes.Clone(follow(body, s.steps))
	default:
		body = bytes.Clone(body)
	}
	return notify.Message{
		// Of this rule and target: who gets an event for two reasons must not take
		// the second for a repetition.
		ID:  nameID(id, s.rule.Name, s.target.ID),
		Seq: it.Seq, Time: it.Time, Subject: e.detailType, Body: body,
		Attributes: map[string]string{"id": id, "rule": s.rule.Name, "source": e.source(), "detail-type": e.detailType,
			attrAccount: account, attrRegion: region, "event-name": e.eventName},
	}, true
}

// settle notes that a message of the current batch needs no more sending, though
// others of it do.
func (s *source) settle(id string) {
	for i := range s.pending {
		if s.pending[i].message.ID == id {
			s.pending[i].settled = true
		}
	}
}

// done notes in b that messages need no more sending, as Batch.Done does.
//
// Crash story: the cursor stands before the first message that is not settled. A
// crash makes the messages from there on go out again, with the same ids.
func (s *source) done(b *kv.Batch, messages []notify.Message) {
	for i := range messages {
		s.settle(messages[i].ID)
	}
	first := 0
	for first < len(s.pending) && s.pending[first].settled {
		first++
	}
	s.pending = append([]owed(nil), s.pending[first:]...)
	at := s.scanned
	if len(s.pending) > 0 {
		at = s.pending[0].message.Seq - 1
	}
	if at > s.durable && first > 0 || at-s.durable >= cursorEvery {
		journal.SetCursor(b, s.cursor, at)
		s.durable = at
	}
}

// Wait implements notify.Source.
func (s *source) Wait(ctx context.Context) error {
	_, err := s.journal.Wait(ctx, s.scanned)
	return err
}
