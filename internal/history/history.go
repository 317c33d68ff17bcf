// Package history is event history: the management events of the last 90 days,
// found by every attribute that LookupEvents knows.
//
// It stands behind the journal as one of its readers: a goroutine follows the
// journal with the cursor "history" and writes index keys; the records
// themselves stay in the journal. Expiry removes the keys of whole weeks with
// one range delete and then trims the journal behind the slowest reader.
package history

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/record"
)

// Cursor is the name of the index's cursor in the journal.
const Cursor = "history"

const (
	// DefaultRetention is how long AWS keeps event history (CloudTrail user
	// guide, "Working with CloudTrail event history").
	DefaultRetention = 90 * 24 * time.Hour
	// flushPause is how long events gather in memory at most before they are
	// written.
	flushPause = time.Second
	// collect is how long records are left to collect before they are taken into
	// memory, unless somebody looks for them.
	collect = 100 * time.Millisecond
	// expiryPause is how often expiry is looked at.
	expiryPause = time.Hour
	// idsPause is how long a quiet server keeps ids in memory.
	idsPause   = time.Minute
	faultPause = 5 * time.Second
)

// Attribute is what events are looked up by, by LookupEvents' names.
type Attribute string

const (
	ByTime         Attribute = "" // all events
	ByEventID      Attribute = "EventId"
	ByEventName    Attribute = "EventName"
	ByReadOnly     Attribute = "ReadOnly"
	ByUsername     Attribute = "Username"
	ByResourceType Attribute = "ResourceType"
	ByResourceName Attribute = "ResourceName"
	ByEventSource  Attribute = "EventSource"
	ByAccessKeyID  Attribute = "AccessKeyId"
)

// The attributes' numbers in keys; part of the format.
var attributeCode = map[Attribute]byte{
	ByTime: 0, ByEventID: 1, ByEventName: 2, ByReadOnly: 3, ByUsername: 4,
	ByResourceType: 5, ByResourceName: 6, ByEventSource: 7, ByAccessKeyID: 8,
}

// Insights events are in lists of their own: the attribute's code with
// insightBit for those on management events and with dataInsightBit for those
// on data events, whose values begin with the ARN of their trail. LookupEvents
// finds the former, ListInsightsData the latter.
const (
	insightBit     = 0x10
	dataInsightBit = 0x20
)

// insightAttributes are what Insights events are looked up by (API reference,
// "LookupEvents" and "ListInsightsData").
var insightAttributes = []Attribute{ByTime, ByEventID, ByEventName, ByEventSource}

// Index key format: kv.SpaceHistory, 'w', ^week (4 bytes, weeks since 1970),
// attribute code, account, region, value, ^eventTime (unix ms), ^seq; see
// lists for the value. Complemented numbers order the newest first. The week
// leads, so that expiry is a range, and it is no longer time than that so that
// a value is looked for in 90 days by few seeks. 'd' and the day hold the first
// journal number seen on that day.
//
// Until this was so the day led, after 'i'. What is there is read, day by day,
// until it expires; nothing is written there any more.
const (
	weekMark  = 'w'
	indexMark = 'i'
	dayMark   = 'd'
	weekDays  = 7
)

const dayMS = 86_400_000

func dayOf(t time.Time) uint32 { return uint32(max(t.Unix(), 0) / 86400) }

func dayOfMS(ms int64) uint32 { return dayOf(time.UnixMilli(ms)) }

func appendDay(dst []byte, day uint32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, byte(kv.SpaceHistory), indexMark), ^day)
}

func appendWeek(dst []byte, week uint32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, byte(kv.SpaceHistory), weekMark), ^week)
}

// listKey names a list, but for the week.
func listKey(dst []byte, code byte, account, region, value string) []byte {
	dst = kv.AppendString(append(dst, code), account)
	dst = kv.AppendString(dst, region)
	return kv.AppendString(dst, value)
}

// position is an event's place in a list, newest first.
type position struct {
	ms  int64
	seq uint64
}

func (p position) append(dst []byte) []byte {
	return kv.AppendUint64(kv.AppendUint64(dst, ^uint64(p.ms)), ^p.seq)
}

func dayKey(day uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{byte(kv.SpaceHistory), dayMark}, day)
}

// Config is what an Index needs.
type Config struct {
	Store     *kv.Store
	Journal   *journal.Journal
	Log       *slog.Logger
	Now       func() time.Time
	Retention time.Duration // 0 means DefaultRetention

	idsBatch int // 0 means idsBatch; tests lower it
}

// Index is the event history. It is safe for concurrent use.
type Index struct {
	cfg Config

	// flushing is held while what is in memory is written, and when days expire.
	// It is taken before mu.
	flushing sync.Mutex

	mu      sync.Mutex // guards what follows, and is never held during a write
	reached uint64     // journal number up to which everything is in memory or written
	durable uint64     // of the cursor
	days    []uint32   // days with events, ascending; changed by replacing it
	old     []uint32   // days whose lists are by day, ascending; changed by replacing it
	fresh   *generation
	writing *generation // what is being written, or could not be; nil when there is none
	ids     ids
	key     []byte // a buffer
}

// Open reads where the index stands. Run brings it forward.
//
// Crash story: the index's first cursor is set here, so that the journal is not
// trimmed before it was read. Each later batch holds index keys and cursor
// together; what a crash leaves unread is read again. Ids have a cursor of their
// own, which is never ahead of the other.
func Open(c Config) (*Index, error) {
	if c.Retention == 0 {
		c.Retention = DefaultRetention
	}
	c.idsBatch = cmp.Or(c.idsBatch, idsBatch)
	at, err := c.Journal.Cursor(Cursor)
	if err != nil {
		return nil, err
	}
	idsAt := at
	switch _, err := c.Store.Get(kv.Key(kv.SpaceCursor, idsCursor)); {
	case err == nil:
		if idsAt, err = c.Journal.Cursor(idsCursor); err != nil {
			return nil, err
		}
	case !errors.Is(err, kv.ErrNotFound):
		return nil, fmt.Errorf("reading where event history stands: %w", err)
	default:
		// A store of before the ids had a cursor has all of them up to the other.
		b := c.Store.NewBatch()
		journal.SetCursor(b, Cursor, at)
		journal.SetCursor(b, idsCursor, idsAt)
		if err := c.Journal.Commit(b); err != nil {
			return nil, err
		}
	}
	x := &Index{cfg: c, reached: min(idsAt, at), durable: at, fresh: newGeneration(), ids: ids{seed: maphash.MakeSeed()}}
	prefix := []byte{byte(kv.SpaceHistory), dayMark}
	err = c.Store.Scan(prefix, func(k, _ []byte) (bool, error) {
		if len(k) == 6 {
			x.days = append(x.days, binary.BigEndian.Uint32(k[2:])) // in order
		}
		return true, nil
	})
	if err == nil {
		x.old, err = oldDays(c.Store)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the days of event history: %w", err)
	}
	return x, nil
}

// oldDays are the days with lists by day.
func oldDays(store *kv.Store) ([]uint32, error) {
	it, err := store.DB().NewIter(&pebble.IterOptions{
		LowerBound: []byte{byte(kv.SpaceHistory), indexMark}, UpperBound: []byte{byte(kv.SpaceHistory), indexMark + 1},
	})
	if err != nil {
		return nil, err
	}
	var days []uint32
	for ok := it.First(); ok; ok = it.SeekGE(appendDay(nil, days[0]-1)) {
		if len(it.Key()) < 6 {
			return nil, errors.Join(fmt.Errorf("the key %q is damaged", it.Key()), it.Close())
		}
		if days = slices.Insert(days, 0, ^binary.BigEndian.Uint32(it.Key()[2:])); days[0] == 0 {
			break
		}
	}
	return days, errors.Join(it.Error(), it.Close())
}

// Run indexes until ctx ends and then returns nil. An error means that the
// journal cannot be written any more.
func (x *Index) Run(ctx context.Context) error {
	var expire, flush time.Time // when to; no time to flush when nothing is gathered
	for ctx.Err() == nil {
		err := x.absorb(ctx, x.cfg.Journal.Head())
		lists, ids := x.gathered()
		switch now := time.Now(); {
		case err != nil:
		case lists && flush.IsZero():
			flush = now.Add(flushPause)
		case !lists:
			flush = time.Time{}
		}
		if err == nil && (x.due() || lists && !time.Now().Before(flush)) {
			err = x.flush(false)
			lists, flush = false, time.Time{}
		}
		if now := x.cfg.Now(); err == nil && !now.Before(expire) {
			err = x.Expire()
			expire = now.Add(expiryPause)
		}
		if errors.Is(err, journal.ErrClosed) || errors.Is(err, journal.ErrFailed) {
			return err
		}
		if err != nil && ctx.Err() == nil {
			x.cfg.Log.Error("event history cannot go on and is tried again", "pause", faultPause, "err", err)
			pause(ctx, faultPause)
			continue
		}
		limit := expiryPause
		switch {
		case lists:
			limit = max(time.Until(flush), 0)
		case ids:
			limit = idsPause
		}
		if err := x.await(ctx, limit, !lists && ids); err != nil && ctx.Err() == nil {
			return err
		}
	}
	// What came last is not left for the next start to read.
	to := min(x.cfg.Journal.Head(), x.position()+flushRecords)
	return errors.Join(x.absorb(context.WithoutCancel(ctx), to), x.flush(true))
}

// await waits for records and then for more of them, at most for limit. When
// none come and quiet is set, the ids are written.
func (x *Index) await(ctx context.Context, limit time.Duration, quiet bool) error {
	after := x.position()
	timed, cancel := context.WithTimeout(ctx, limit)
	_, err := x.cfg.Journal.Wait(timed, after)
	cancel()
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		if quiet {
			if err := x.flush(true); err != nil {
				x.cfg.Log.Error("ids of event history cannot be written", "err", err)
			}
		}
		return nil
	}
	if err != nil {
		return err
	}
	timed, cancel = context.WithTimeout(ctx, min(limit, collect))
	defer cancel()
	if _, err = x.cfg.Journal.Wait(timed, after+absorbRecords-1); errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (x *Index) position() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.reached
}

// put adds one event to its lists, but for that of its id, and returns the buffer.
func put(found lists, key []byte, it *journal.Item) []byte {
	account, region := it.Field(record.FieldAccount), it.Field(record.FieldRegion)
	pos := position{it.Time.UnixMilli(), it.Seq}
	add := func(a Attribute, value string) {
		if value == "" && a != ByTime {
			return
		}
		key = listKey(key[:0], attributeCode[a], account, region, value)
		found.add(key, pos)
	}
	add(ByTime, "")
	add(ByEventName, it.Field(record.FieldEventName))
	add(ByReadOnly, readOnlyText(it.ReadOnly))
	add(ByUsername, Username(&it.Entry))
	add(ByEventSource, it.Field(record.FieldEventSource))
	add(ByAccessKeyID, it.Field(record.FieldAccessKey))
	it.Resources(func(typ, arn string) {
		add(ByResourceType, typ)
		add(ByResourceName, arn)
		if name := BareName(arn); name != arn {
			add(ByResourceName, name)
		}
	})
	return key
}

// putInsight adds an Insights event to its lists and returns the buffer.
func putInsight(found lists, key []byte, it *journal.Item, r *record.InsightRecord) []byte {
	bit := byte(insightBit)
	if r.Source != "" {
		bit = dataInsightBit
	}
	for i, value := range []string{"", r.EventID, r.Details.EventName, r.Details.EventSource} {
		key = listKey(key[:0], attributeCode[insightAttributes[i]]|bit, r.AccountID, r.Region, r.Source+value)
		found.add(key, position{it.Time.UnixMilli(), it.Seq})
	}
	return key
}

func readOnlyText(v bool) string {
	if v {
		return "true"
	}
	return "false"
}

// Username is the name that LookupEvents shows for an event's caller: the IAM
// user's or session's name, "root" for the root user.
func Username(e *record.Entry) string {
	if name := e.Field(record.FieldUserName); name != "" {
		return name
	}
	arn := e.Field(record.FieldUserARN)
	if strings.HasSuffix(arn, ":root") {
		return "root"
	}
	if i := strings.LastIndexByte(arn, '/'); i >= 0 {
		return arn[i+1:]
	}
	return ""
}

// BareName is a resource's name without the rest of its ARN: what follows the
// last slash, or the last colon when there is none. The key of an S3 object is
// kept whole.
func BareName(arn string) string {
	p := strings.SplitN(arn, ":", 6)
	if len(p) != 6 {
		return arn
	}
	res := p[5]
	if p[2] == "s3" {
		if _, key, ok := strings.Cut(res, "/"); ok && key != "" {
			return key
		}
		return res
	}
	if i := strings.LastIndexAny(strings.TrimRight(res, "/"), "/:"); i >= 0 {
		return strings.TrimRight(res, "/")[i+1:]
	}
	return res
}

// Expire removes the weeks that are past retention and trims the journal up to
// where no day in retention needs it any more. What is past retention of the
// oldest week that is kept is hidden by Lookup.
func (x *Index) Expire() error {
	x.flushing.Lock()
	defer x.flushing.Unlock()
	if err := x.flushLocked(true); err != nil { // ids hold the journal
		return err
	}
	oldest := dayOf(x.cfg.Now().Add(-x.cfg.Retention))
	b := x.cfg.Store.NewBatch()
	trim := x.position()
	kept, expired := false, false
	prefix := []byte{byte(kv.SpaceHistory), dayMark}
	err := x.cfg.Store.Scan(prefix, func(k, v []byte) (bool, error) {
		if len(k) != 6 || len(v) != 8 {
			return false, fmt.Errorf("the key %q is damaged", k)
		}
		day := binary.BigEndian.Uint32(k[2:])
		if day < oldest {
			expired = true
			b.Delete(k)
			return true, nil
		}
		if first := binary.BigEndian.Uint64(v); !kept || first-1 < trim {
			kept, trim = true, min(trim, first-1)
		}
		return true, nil
	})
	if err != nil || !expired {
		return errors.Join(err, b.Close())
	}
	// Weeks and days descend in the keys: all before the oldest are one range.
	if week := oldest / weekDays; week > 0 {
		b.DeleteRange(appendWeek(nil, week-1), []byte{byte(kv.SpaceHistory), weekMark + 1})
	}
	if len(x.old) > 0 {
		b.DeleteRange(appendDay(nil, oldest-1), []byte{byte(kv.SpaceHistory), indexMark + 1})
	}
	if err := x.cfg.Journal.Commit(b); err != nil {
		return fmt.Errorf("expiring event history: %w", err)
	}
	x.mu.Lock()
	for _, days := range [...]*[]uint32{&x.days, &x.old} {
		i, _ := slices.BinarySearch(*days, oldest)
		*days = slices.Clone((*days)[i:])
	}
	x.mu.Unlock()
	to, err := x.cfg.Journal.Trim(trim)
	if err != nil {
		return fmt.Errorf("trimming the journal: %w", err)
	}
	x.cfg.Log.Info("event history expired", "before", time.Unix(int64(oldest)*86400, 0).UTC(), "journal_trimmed_to", to)
	return nil
}
