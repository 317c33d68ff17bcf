package trail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sort"
	"sync"
	"time"

	"spoor/internal/crashpoint"
	"spoor/internal/digest"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/record"
	"spoor/internal/tree"
)

const (
	// maxFileBytes closes a log file, in bytes of JSON. AWS's bound is 50 MB
	// compressed; a smaller file reaches its reader sooner.
	maxFileBytes = 5 << 20
	// cursorEvery is how many records a follower reads at most before it makes
	// its position durable although it delivered nothing.
	cursorEvery = 16384
	// gather is how long a follower lets records collect after it was woken, so
	// that it reads many at a time on a busy server, but not so many that they are
	// no longer in the journal's memory.
	gather        = 50 * time.Millisecond
	gatherRecords = 2048
	// faultPause is the pause after an error that is not the bucket's.
	faultPause = 5 * time.Second
)

// follower delivers one trail. Everything in it belongs to the goroutine of
// run, but for the status (see status.go) and the uploads (see flight.go): while
// some files are on their way to the bucket, the next ones are made.
type follower struct {
	m   *Manager
	arn string
	// The trail's name, split once.
	account, home, name string
	log                 *slog.Logger

	set     Settings // in force at pos
	match   *matcher
	changes []pendingChange
	pos     uint64 // read up to here
	looked  uint64 // the journal's head when it was last looked at
	durable uint64 // the cursor in the store
	streams map[string]*stream

	ev        entryEvent
	statuses  statusBoard
	uploads   sync.WaitGroup
	ended     landings
	flying    int           // uploads not looked at since they began
	turn      int           // whose turn of the streams it is to upload
	fresh     bool          // a file was planned and its upload not begun
	maxBytes  int           // maxFileBytes; tests lower it
	patience  time.Duration // uploadTimeout; tests lower it
	committed func(*kv.Batch) error
	hasher    *tree.Hasher
}

// runState is the durable part: the settings in force at the cursor.
type runState struct {
	Version  int      `json:"version"`
	Settings Settings `json:"settings"`
}

type pendingChange struct {
	key []byte
	change
}

func newFollower(m *Manager, arn string) *follower {
	f := &follower{m: m, arn: arn, log: m.cfg.Log.With("trail", arn), maxBytes: maxFileBytes, patience: uploadTimeout, hasher: tree.NewHasher()}
	f.committed = m.cfg.Journal.Commit
	return f
}

// load reads the durable state. Normal running and recovery start alike. No
// upload may be under way.
func (f *follower) load() error {
	f.ended.take()
	f.flying = 0
	var err error
	if f.home, f.account, f.name, err = digest.TrailName(f.arn); err != nil {
		return err
	}
	var run runState
	if _, err = f.m.cfg.Store.GetRow(runKey(f.arn), &run, &run.Version, formatVersion); err != nil {
		return err
	}
	f.set, f.match = run.Settings, compile(run.Settings.Selectors)
	if f.pos, err = f.m.cfg.Journal.Cursor(CursorName(f.arn)); err != nil {
		return err
	}
	f.durable = f.pos
	f.streams = map[string]*stream{}
	prefix := streamPrefix(f.arn)
	err = f.m.cfg.Store.Scan(prefix, func(k, v []byte) (bool, error) {
		region, _, ok := kv.DecodeString(k[len(prefix):])
		if !ok {
			return false, fmt.Errorf("the key %q is damaged", k)
		}
		s := &stream{f: f, region: region}
		if err := kv.DecodeRow(v, &s.streamState, &s.Version, formatVersion); err != nil {
			return false, err
		}
		f.streams[region] = s
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, s := range f.streams {
		if err := s.loadQueue(); err != nil {
			return err
		}
	}
	f.publish()
	return nil
}

func (f *follower) loadChanges() ([]pendingChange, error) {
	return loadChanges(f.m.cfg.Store, changePrefix(f.arn))
}

// run delivers until ctx ends or nothing is left to do.
func (f *follower) run(ctx context.Context) error {
	for {
		err := f.session(ctx)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		if stopped(err) {
			return err
		}
		f.log.Error("delivery cannot go on and is tried again", "pause", faultPause, "err", err)
		if !pause(ctx, faultPause) {
			return nil
		}
	}
}

// session delivers from the durable state on, until ctx ends, nothing is left to
// do or something fails that is not the bucket: then what is in memory may be
// ahead of the store, and nothing goes on with it.
func (f *follower) session(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer f.uploads.Wait()
	defer cancel()
	if err := f.load(); err != nil {
		return err
	}
	for {
		next, done, err := f.step(ctx)
		if err != nil || done || !f.wait(ctx, next) {
			return err
		}
	}
}

// wait returns when there are new records to look at, an upload has ended or the
// time has come. It is false when ctx has ended.
func (f *follower) wait(ctx context.Context, next time.Time) bool {
	d := max(next.Sub(f.m.cfg.Now()), time.Millisecond)
	timed, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	f.ended.onNext(cancel)
	after := f.pos
	if !f.set.Logging {
		// A change brings a record of its own; those before do not matter.
		after = f.looked
	}
	if _, err := f.m.cfg.Journal.Wait(timed, after); err != nil {
		return ctx.Err() == nil
	}
	gathering, stop := context.WithTimeout(timed, min(gather, d))
	defer stop()
	_, _ = f.m.cfg.Journal.Wait(gathering, after+gatherRecords) // its end is no error
	return ctx.Err() == nil
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// step does all that is due now: read, close files, begin uploads and note those
// that have ended, make digests. It returns when it wants to be called again even
// if no record comes and no upload ends.
func (f *follower) step(ctx context.Context) (next time.Time, done bool, err error) {
	// The time is taken first: what was recorded before a file is due is in it.
	now := f.m.cfg.Now()
	if err := f.read(ctx); err != nil {
		return next, false, err
	}
	if err := f.cutDue(now); err != nil {
		return next, false, err
	}
	if err := f.deliver(ctx); err != nil {
		return next, false, err
	}
	made, err := f.makeDigests(f.m.cfg.Now())
	if err != nil {
		return next, false, err
	}
	if made {
		if err := f.deliver(ctx); err != nil {
			return next, false, err
		}
	}
	if err := f.saveCursor(false); err != nil {
		return next, false, err
	}
	if f.idle() {
		if done, err = f.m.retire(f); done || err != nil {
			return next, done, err
		}
	}
	return f.nextDeadline(), false, nil
}

// read takes in the journal up to its head.
func (f *follower) read(ctx context.Context) error {
	head := f.m.cfg.Journal.Head()
	f.looked = head
	// A change's row is in the store when its record is in the journal, so what
	// is loaded now has every change up to head.
	var err error
	if f.changes, err = f.loadChanges(); err != nil {
		return err
	}
	if !f.set.Logging && len(f.changes) == 0 {
		return nil
	}
	err = f.m.cfg.Journal.Read(f.pos, head, func(it journal.Item) (bool, error) {
		if err := f.take(&it); err != nil {
			return false, err
		}
		f.pos = it.Seq
		if f.fresh {
			f.fresh = false
			if err := f.deliver(ctx); err != nil {
				return false, err
			}
		}
		if f.pos-f.durable >= cursorEvery {
			if err := f.saveCursor(true); err != nil {
				return false, err
			}
		}
		return ctx.Err() == nil && (f.set.Logging || len(f.changes) > 0), nil
	})
	if err != nil {
		return fmt.Errorf("reading the journal: %w", err)
	}
	return nil
}

// take handles one record. A change holds from its own record on: one that
// starts logging includes it, every other is judged by what was before, so
// that the record of a StopLogging is delivered too.
func (f *follower) take(it *journal.Item) error {
	ch := findChange(f.changes, it)
	if ch != nil && !f.set.Logging {
		if err := f.apply(ch, it.Seq-1); err != nil {
			return err
		}
		ch = nil
	}
	if f.set.Logging && it.Is(record.FieldAccount, f.account) {
		if err := f.offer(it); err != nil {
			return err
		}
	}
	if ch != nil {
		f.pos = it.Seq
		return f.apply(ch, it.Seq)
	}
	return nil
}

// offer gives a record of the trail's account to its region's stream.
func (f *follower) offer(it *journal.Item) error {
	region := f.home // most are, and this makes no copy
	if !it.Is(record.FieldRegion, region) {
		region = it.Field(record.FieldRegion)
	}
	if region != f.home && !f.set.MultiRegion {
		return nil
	}
	s := f.streams[region]
	if s == nil {
		s = f.newStream(region)
		s.activate()
	}
	if it.Seq <= s.Cursor {
		return nil // in a planned file already
	}
	s.saw(it.StreamSeq)
	wanted, err := f.set.takes(it, region, f.home, f.arn, f.match, &f.ev)
	if err != nil || !wanted {
		return err
	}
	if s.count > 0 && fileKind(it.Category) != s.kind {
		// The numbers go on from file to file, so the other kind's file ends here.
		if err := f.cutOne(s, it.Seq-1, it.StreamSeq-1); err != nil {
			return err
		}
		s.seen = it.StreamSeq
	}
	if err := s.add(it, f.m.cfg.Now()); err != nil {
		return err
	}
	if s.file.size < f.maxBytes {
		return nil
	}
	return f.cutOne(s, it.Seq, it.StreamSeq)
}

// cutOne closes one stream's file, which covers what was read up to a number
// of the journal and of the stream.
func (f *follower) cutOne(s *stream, seq, streamSeq uint64) error {
	f.pos, s.seen = seq, streamSeq
	b := f.m.cfg.Store.NewBatch()
	if err := s.cut(b, seq); err != nil {
		return errors.Join(err, b.Close())
	}
	f.durable = f.lowWater()
	journal.SetCursor(b, CursorName(f.arn), f.durable)
	f.fresh = true
	return f.commit(b)
}

// takes reports whether a trail with these settings takes a record of a region
// that it covers. Insights on data events are one trail's, those on management
// events are of every trail that has them on. ev is the caller's to reuse.
func (s *Settings) takes(it *journal.Item, region, home, arn string, match *matcher, ev *entryEvent) (bool, error) {
	switch it.Category {
	case record.Insight:
	case record.Aggregated:
		only, err := it.OnlyFor()
		if err != nil {
			return false, fmt.Errorf("record %d: %w", it.Seq, err)
		}
		return only == arn && len(s.Templates) > 0, nil
	default:
		ev.set(&it.Entry)
		return s.inRegion(home, region, ev) && match.matches(ev), nil
	}
	if len(s.Insights) == 0 {
		return false, nil
	}
	r, err := record.ParseInsight(it.JSON)
	if err != nil {
		return false, fmt.Errorf("record %d: %w", it.Seq, err)
	}
	return s.WantsInsight(r.Details.InsightType, r.SourceCategory()) && (r.Source == "" || r.Source == arn), nil
}

// apply puts a change in force after the record seq.
//
// Crash story: the files that close under the old settings, the new settings,
// the removal of the change and the cursor behind its record are one batch.
// Nothing is pending in memory at that point, so the cursor says it all.
func (f *follower) apply(ch *pendingChange, seq uint64) error {
	old, set := f.set, ch.Settings
	b := f.m.cfg.Store.NewBatch()
	for _, s := range f.streams {
		if err := s.cut(b, seq); err != nil {
			return errors.Join(err, b.Close())
		}
	}
	f.set, f.match = set, compile(set.Selectors)
	if f.active(f.home, &set) && f.streams[f.home] == nil {
		f.newStream(f.home)
	}
	for region, s := range f.streams {
		was, is := f.active(region, &old), f.active(region, &set)
		switch {
		case is && !was:
			s.activate()
		case was && !is:
			s.deactivate()
		case is:
			s.chainOnOff()
		}
		s.save(b)
	}
	b.Set(runKey(f.arn), kv.MustJSON(runState{Version: formatVersion, Settings: set}))
	b.Delete(ch.key)
	f.changes = slices.DeleteFunc(f.changes, func(p pendingChange) bool { return p.EventID == ch.EventID })
	f.pos = seq
	journal.SetCursor(b, CursorName(f.arn), seq)
	f.durable = seq
	return f.commit(b)
}

func (f *follower) active(region string, s *Settings) bool {
	return s.Logging && (region == f.home || s.MultiRegion)
}

// commit makes a batch durable. After an error memory may be ahead of the
// store; run then loads again.
func (f *follower) commit(b *kv.Batch) error {
	if b.Empty() {
		return b.Close()
	}
	return f.committed(b)
}

// lowWater is up to where nothing is in memory only.
func (f *follower) lowWater() uint64 {
	low := f.pos
	for _, s := range f.streams {
		if s.count > 0 {
			low = min(low, s.firstSeq-1)
		}
	}
	return low
}

// saveCursor makes the position durable: when forced, or when it is far ahead.
// A position that is behind costs only that records are read again after a
// restart, and that the journal is not trimmed as far as it could be.
func (f *follower) saveCursor(force bool) error {
	low := f.lowWater()
	if low <= f.durable || !force && low-f.durable < cursorEvery {
		return nil
	}
	b := f.m.cfg.Store.NewBatch()
	journal.SetCursor(b, CursorName(f.arn), low)
	f.durable = low
	return f.commit(b)
}

// cutDue closes the files that have collected for long enough, all in one
// batch.
func (f *follower) cutDue(now time.Time) error {
	b := f.m.cfg.Store.NewBatch()
	due := false
	for _, s := range f.streams {
		if s.count > 0 && !now.Before(s.firstAt.Add(f.m.cfg.DeliveryInterval)) {
			due = true
			if err := s.cut(b, f.pos); err != nil {
				return errors.Join(err, b.Close())
			}
		}
	}
	if due {
		f.durable = f.lowWater()
		journal.SetCursor(b, CursorName(f.arn), f.durable)
		crashpoint.Here("trail.cut")
	}
	if err := f.commit(b); err != nil {
		return err
	}
	if due {
		crashpoint.Here("trail.planned")
	}
	return nil
}

// makeDigests makes the digests that are due.
func (f *follower) makeDigests(now time.Time) (bool, error) {
	made := false
	for _, region := range f.regions() {
		s := f.streams[region]
		if !s.Chain.Open || !s.digestDue(now) {
			continue
		}
		if err := s.makeDigest(now); err != nil {
			return made, err
		}
		made = true
	}
	if !made {
		return false, nil
	}
	return true, f.saveCursor(true)
}

// regions lists the streams in order.
func (f *follower) regions() []string {
	out := make([]string, 0, len(f.streams))
	for r := range f.streams {
		out = append(out, r)
	}
	sort.Strings(out)
	return out
}

// idle reports whether nothing is left to do for a trail that does not log.
func (f *follower) idle() bool {
	if f.set.Logging || len(f.changes) > 0 {
		return false
	}
	for _, s := range f.streams {
		if s.queued() || s.Chain.Open {
			return false
		}
	}
	return true
}

// nextDeadline is when step has something to do without a new record.
func (f *follower) nextDeadline() time.Time {
	next := f.m.cfg.Now().Add(time.Hour)
	soonest := func(t time.Time) {
		if t.Before(next) {
			next = t
		}
	}
	for _, s := range f.streams {
		if s.count > 0 {
			soonest(s.firstAt.Add(f.m.cfg.DeliveryInterval))
		}
		if s.Chain.Open && !s.Chain.Closing && !s.ending {
			soonest(s.Chain.Start.Add(f.m.cfg.DigestInterval))
		}
		if x := s.failing(); x != nil && s.flying == 0 {
			soonest(x.retryAt)
		}
	}
	return next
}
