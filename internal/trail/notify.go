package trail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"spoor/internal/call"
	"spoor/internal/digest"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/notify"
	"spoor/internal/record"
)

// A trail tells an SNS topic of each delivered log file, and sends its records
// to a log group of CloudWatch Logs. Both go out by package notify; here is
// what makes them owed.

// validationMessage is what CloudTrail publishes to a topic when a trail is
// given it. Its consumers know the text and pass over it.
const validationMessage = "CloudTrail validation message."

// notificationOwner is who a notification of a region's log files is for.
func notificationOwner(arn, region string) string { return arn + " " + region }

// NotificationStatus is how a trail's notifications of a region's files stand.
func (m *Manager) NotificationStatus(arn, region string) (notify.Status, error) {
	if m.cfg.Notify == nil {
		return notify.Status{}, nil
	}
	return m.cfg.Notify.Board().Get(notify.KindSNS, notificationOwner(arn, region))
}

// LogsStatus is how the delivery of a trail to its log group stands.
func (m *Manager) LogsStatus(arn string) (notify.Status, error) {
	if m.cfg.Notify == nil {
		return notify.Status{}, nil
	}
	return m.cfg.Notify.Board().Get(notify.KindLogs, arn)
}

// validateTopic makes a trail's new topic be owed the validation message, by
// the call that names it. How that goes is the status of the home region's.
func (m *Manager) validateTopic(c *call.Call, t *State) {
	if m.cfg.Notify == nil {
		return
	}
	sent := m.cfg.Notify.OweTopic(c.Tx.Batch(), t.Settings.Topic, notificationOwner(t.ARN(), t.HomeRegion), notify.Message{ID: notify.NewID(), Time: m.cfg.Now().UTC(), Body: []byte(validationMessage)})
	c.Tx.OnCommit(sent)
}

// oweNotification notes in b, which confirms the delivery of p, that its topic
// is owed a message of it.
//
// Crash story: the file counts as delivered and the message as owed together.
// Before that the upload is repeated; after it the message goes out however
// often the server starts anew.
func (s *stream) oweNotification(b *kv.Batch, p *plan, at time.Time) (committed func()) {
	if p.Topic == "" || p.Digest || s.f.m.cfg.Notify == nil {
		return func() {}
	}
	body := kv.MustJSON(struct {
		Bucket string   `json:"s3Bucket"`
		Keys   []string `json:"s3ObjectKey"`
	}{p.Bucket, []string{p.Key}})
	return s.f.m.cfg.Notify.OweTopic(b, p.Topic, notificationOwner(s.f.arn, s.region),
		notify.Message{ID: notify.NewID(), Time: at, Body: body})
}

const (
	// maxLogBatch bounds what is sent to a log group at a time: PutLogEvents'
	// number of events, and about its bytes.
	maxLogBatch      = 10_000
	maxLogBatchBytes = 1 << 20
)

// logSource is a trail's records on their way to a log group. It reads the
// journal as a follower does, by a cursor and with changes of its own: a bucket
// that is out of reach does not hold up the log group, nor the other way round.
type logSource struct {
	m                   *Manager
	arn                 string
	account, home, name string
	read                uint64   // up to here nothing is owed, behind the cursor
	looked              uint64   // the journal's head when it was last looked at
	set                 Settings // in force for the batch that Next returned last
	ev                  entryEvent
}

func logCursorName(arn string) string { return "trail-logs/" + arn }

func logRunKey(arn string) []byte { return kv.Key(kv.SpaceDeliver, "logs-run", arn) }

func logChangePrefix(arn string) []byte { return kv.Key(kv.SpaceDeliver, "logs-change", arn) }

// sendsLogs: records go to a log group under these settings.
func (s *Settings) sendsLogs() bool { return s.Logging && s.LogGroup != "" }

// followLogs starts the loop of a trail's log group, if it does not run.
func (m *Manager) followLogs(arn string) error {
	l := &logSource{m: m, arn: arn}
	var err error
	if l.home, l.account, l.name, err = digest.TrailName(arn); err != nil {
		return err
	}
	m.cfg.Notify.Add(&notify.Loop{Target: "logs:" + arn, Kind: notify.KindLogs, Source: l, Sender: logSender{m.cfg.Notify.LogSender(), l}})
	return nil
}

// followAllLogs starts the loops of all trails that send to log groups.
func (m *Manager) followAllLogs() error {
	if m.cfg.Notify == nil {
		return nil
	}
	var arns []string
	prefix := kv.Key(kv.SpaceCursor)
	err := m.cfg.Store.Scan(prefix, func(k, _ []byte) (bool, error) {
		name, _, ok := kv.DecodeString(k[len(prefix):])
		if arn, isLogs := strings.CutPrefix(name, logCursorName("")); ok && isLogs {
			arns = append(arns, arn)
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("reading the log groups' cursors: %w", err)
	}
	for _, arn := range arns {
		if err := m.followLogs(arn); err != nil {
			return err
		}
	}
	return nil
}

// Next implements notify.Source. A batch ends at a change of the trail's
// settings, so that one batch is for one log group; the change is made durable
// with the batch.
//
// Crash story: nothing but the cursor and the settings in force at it says what
// is owed, and they move together, after the target's acknowledgement.
func (l *logSource) Next(ctx context.Context) (notify.Batch, error) {
	for {
		out, again, err := l.next(ctx)
		if err != nil || !again || ctx.Err() != nil {
			return out, err
		}
	}
}

// logBatch is a batch that collects.
type logBatch struct {
	notify.Batch
	size  int
	attrs map[string]map[string]string // by region
	end   *pendingChange               // what ends it
	pos   uint64                       // read up to here
}

// next is Next; again is true when a change was applied before which nothing
// is owed.
func (l *logSource) next(ctx context.Context) (out notify.Batch, again bool, err error) {
	store := l.m.cfg.Store
	// Changes up to head are in the store when head is.
	l.looked = l.m.cfg.Journal.Head()
	changes, err := loadChanges(store, logChangePrefix(l.arn))
	if err != nil {
		return out, false, err
	}
	var run runState
	if _, err := store.GetRow(logRunKey(l.arn), &run, &run.Version, formatVersion); err != nil {
		return out, false, err
	}
	cursor, err := l.m.cfg.Journal.Cursor(logCursorName(l.arn))
	if err != nil {
		return out, false, err
	}
	sends := run.Settings.sendsLogs()
	if !sends && len(changes) == 0 {
		return out, false, l.retire()
	}
	l.read = max(l.read, cursor)
	match := compile(run.Settings.Selectors)
	b := logBatch{pos: l.read, attrs: map[string]map[string]string{}}
	var before *pendingChange // a change that holds from its own record on
	err = l.m.cfg.Journal.Read(l.read, l.looked, func(it journal.Item) (bool, error) {
		ch := findChange(changes, &it)
		if ch != nil && !sends {
			before = ch
			return false, nil
		}
		b.pos = it.Seq
		if sends && it.Is(record.FieldAccount, l.account) {
			if err := l.offer(&b, &it, &run.Settings, match); err != nil {
				return false, err
			}
		}
		b.end = ch
		return ch == nil && len(b.Messages) < maxLogBatch && b.size < maxLogBatchBytes && ctx.Err() == nil, nil
	})
	if err != nil {
		return out, false, fmt.Errorf("reading the journal: %w", err)
	}
	switch {
	case before != nil:
		return out, true, l.commit(func(batch *kv.Batch) { l.apply(batch, before, b.pos) })
	case b.end != nil && len(b.Messages) == 0:
		return out, true, l.commit(func(batch *kv.Batch) { l.apply(batch, b.end, b.pos) })
	}
	if len(b.Messages) == 0 {
		l.read = b.pos
	}
	l.set = run.Settings
	b.Owner, b.Done = l.arn, func(batch *kv.Batch, n int) { l.done(batch, &b, n, cursor) }
	return b.Batch, false, nil
}

// offer takes a record of the trail's account that the settings select.
func (l *logSource) offer(b *logBatch, it *journal.Item, set *Settings, match *matcher) error {
	region := it.Field(record.FieldRegion)
	if region != l.home && !set.MultiRegion || len(it.JSON) > notify.MaxLogEvent {
		return nil
	}
	wanted, err := set.takes(it, region, l.home, l.arn, match, &l.ev)
	if err != nil || !wanted {
		return err
	}
	if b.attrs[region] == nil {
		region = strings.Clone(region)
		b.attrs[region] = map[string]string{notify.AttrLogGroup: set.LogGroup, notify.AttrLogStream: notify.LogStream(l.account, region)}
	}
	b.size += len(it.JSON)
	b.Messages = append(b.Messages, notify.Message{ID: strings.Clone(it.Field(record.FieldEventID)), Seq: it.Seq, Time: it.Time,
		Body: bytes.Clone(it.JSON), Attributes: b.attrs[region]})
	return nil
}

// done notes in batch that the first n messages are done with.
func (l *logSource) done(batch *kv.Batch, b *logBatch, n int, cursor uint64) {
	switch {
	case n < len(b.Messages) && n > 0:
		journal.SetCursor(batch, logCursorName(l.arn), b.Messages[n-1].Seq)
	case n < len(b.Messages):
	case b.end != nil:
		l.apply(batch, b.end, b.pos)
	case n > 0 || b.pos-cursor >= cursorEvery:
		journal.SetCursor(batch, logCursorName(l.arn), b.pos)
	}
}

// apply puts a change in force after the record seq.
func (l *logSource) apply(batch *kv.Batch, ch *pendingChange, seq uint64) {
	batch.Set(logRunKey(l.arn), kv.MustJSON(runState{Version: formatVersion, Settings: ch.Settings}))
	batch.Delete(ch.key)
	journal.SetCursor(batch, logCursorName(l.arn), seq)
}

func (l *logSource) commit(fn func(batch *kv.Batch)) error {
	batch := l.m.cfg.Store.NewBatch()
	fn(batch)
	return l.m.cfg.Journal.Commit(batch)
}

// Wait implements notify.Source.
func (l *logSource) Wait(ctx context.Context) error {
	if _, err := l.m.cfg.Journal.Wait(ctx, l.looked); err != nil {
		return err
	}
	gathering, stop := context.WithTimeout(ctx, gather)
	defer stop()
	_, _ = l.m.cfg.Journal.Wait(gathering, l.looked+gatherRecords) // its end is no error
	return ctx.Err()
}

// retire ends the loop of a trail that sends to no log group any more, unless a
// change came in between; its error says which.
func (l *logSource) retire() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	changes, err := loadChanges(l.m.cfg.Store, logChangePrefix(l.arn))
	if err != nil || len(changes) > 0 {
		return err
	}
	err = l.commit(func(batch *kv.Batch) {
		journal.DropCursor(batch, logCursorName(l.arn))
		batch.Delete(logRunKey(l.arn))
	})
	if err != nil {
		return err
	}
	return notify.ErrDone
}

// findChange returns the change that a record's call made, or nil.
func findChange(changes []pendingChange, it *journal.Item) *pendingChange {
	if len(changes) == 0 {
		return nil
	}
	id := it.Field(record.FieldEventID)
	if i := slices.IndexFunc(changes, func(p pendingChange) bool { return p.EventID == id }); i >= 0 {
		return &changes[i]
	}
	return nil
}

// loadChanges reads the changes under a prefix, in order.
func loadChanges(store *kv.Store, prefix []byte) ([]pendingChange, error) {
	var out []pendingChange
	err := store.Scan(prefix, func(k, v []byte) (bool, error) {
		p := pendingChange{key: slices.Clone(k)}
		if err := kv.DecodeRow(v, &p.change, &p.Version, formatVersion); err != nil {
			return false, err
		}
		out = append(out, p)
		return true, nil
	})
	return out, err
}

// putLogChange writes a change of a trail that sends to a log group, or did, in
// the call's transaction.
func (m *Manager) putLogChange(c *call.Call, arn string, s Settings) error {
	head := m.cfg.Journal.Head()
	switch _, err := m.cfg.Store.Get(kv.Key(kv.SpaceCursor, logCursorName(arn))); {
	case errors.Is(err, kv.ErrNotFound):
		journal.SetCursor(c.Tx.Batch(), logCursorName(arn), head)
	case err != nil:
		return err
	}
	c.Tx.Set(kv.AppendUint64(logChangePrefix(arn), head), kv.MustJSON(change{Version: formatVersion, EventID: c.EventID, Settings: s}))
	c.Tx.OnCommit(func() {
		if err := m.followLogs(arn); err != nil {
			m.cfg.Log.Error("a trail's log group is not followed", "trail", arn, "err", err)
		}
	})
	return nil
}
