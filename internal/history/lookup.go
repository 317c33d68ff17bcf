package history

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"spoor/internal/journal"
	"spoor/internal/kv"
)

// MaxResults is the largest page (CloudTrail API reference, LookupEvents).
const MaxResults = 50

// ErrToken answers a token that Lookup did not make, or made for other
// parameters.
var ErrToken = errors.New("history: the token is not valid for these parameters")

// Query is what Lookup looks for.
type Query struct {
	Account, Region string
	// Insights looks for Insights events: those on management events, or those
	// on the data events of the trail whose ARN is Trail.
	Insights  bool
	Trail     string
	Attribute Attribute
	Value     string
	// Start and End are inclusive; a zero one does not bound.
	Start, End time.Time
	// Max is the page's size, 1 to MaxResults; 0 means MaxResults.
	Max   int
	Token string
}

// Page is a part of the answer, newest first.
type Page struct {
	Items []journal.Item
	Next  string // "" on the last page
}

// tokenVersion is the first byte of a token; then follow the query's hash and
// the position of the last event given.
const (
	tokenVersion = 1
	hashSize     = 16
	tokenSize    = 1 + hashSize + 8 + 8
)

func (q *Query) hash() [hashSize]byte {
	var b []byte
	for _, s := range []string{q.Account, q.Region, string(q.Attribute), q.Value} {
		b = kv.AppendString(b, s)
	}
	if q.Insights {
		b = kv.AppendString(append(b, insightBit), q.Trail)
	}
	for _, t := range []time.Time{q.Start, q.End} {
		ms := int64(0)
		if !t.IsZero() {
			ms = t.UnixMilli()
		}
		b = kv.AppendUint64(b, uint64(ms))
	}
	sum := sha256.Sum256(b)
	return [hashSize]byte(sum[:hashSize])
}

func (q *Query) token(p position) string {
	h := q.hash()
	b := append([]byte{tokenVersion}, h[:]...)
	b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, uint64(p.ms)), p.seq)
	return base64.RawURLEncoding.EncodeToString(b)
}

func (q *Query) parseToken() (p position, err error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(q.Token)
	if err == nil && len(q.Token) != base64.RawURLEncoding.EncodedLen(len(b)) {
		return p, ErrToken // the decoder reads over line ends
	}
	if err != nil || len(b) != tokenSize || b[0] != tokenVersion || [hashSize]byte(b[1:1+hashSize]) != q.hash() {
		return p, ErrToken
	}
	p = position{int64(binary.BigEndian.Uint64(b[1+hashSize:])), binary.BigEndian.Uint64(b[9+hashSize:])}
	if p.ms < 0 {
		return p, ErrToken
	}
	return p, nil
}

// Lookup finds events. It first takes into memory what was in the
// journal when it was called, so that a caller finds its own calls. Pages are
// stable: an event that comes in between is newer than every token's position
// and on no later page.
func (x *Index) Lookup(ctx context.Context, q Query) (Page, error) {
	if err := x.absorb(ctx, x.cfg.Journal.Head()); err != nil {
		return Page{}, fmt.Errorf("reading event history: %w", err)
	}
	if q.Max <= 0 || q.Max > MaxResults {
		q.Max = MaxResults
	}
	if q.Attribute == ByReadOnly {
		q.Value = strings.ToLower(q.Value)
	}
	code, ok := attributeCode[q.Attribute]
	if !ok {
		return Page{}, fmt.Errorf("history: unknown attribute %q", q.Attribute)
	}
	if q.Insights {
		if !slices.Contains(insightAttributes, q.Attribute) {
			return Page{}, fmt.Errorf("history: Insights events have no attribute %q", q.Attribute)
		}
		if code |= insightBit; q.Trail != "" {
			code ^= insightBit | dataInsightBit
			q.Value = q.Trail + q.Value
		}
	}
	from := position{ms: 1 << 62} // newest wanted
	if !q.End.IsZero() {
		// Events have whole seconds to the outside; the second that End names is
		// included as a whole.
		from = position{q.End.Truncate(time.Second).UnixMilli() + 999, ^uint64(0)}
	}
	var after *position
	if q.Token != "" {
		p, err := q.parseToken()
		if err != nil {
			return Page{}, err
		}
		after, from = &p, p
	}
	floor := x.cfg.Now().Add(-x.cfg.Retention)
	if q.Start.After(floor) {
		floor = q.Start.Truncate(time.Second)
	}
	found, err := x.collect(q, code, from, after, floor)
	if err != nil {
		return Page{}, err
	}
	return x.page(q, found)
}

// page reads the events at q.Max+1 positions.
func (x *Index) page(q Query, found []position) (Page, error) {
	var page Page
	if len(found) > q.Max {
		found = found[:q.Max]
		page.Next = q.token(found[q.Max-1])
	}
	items := make([]journal.Item, len(found))
	parts, errs := readers(found), [maxReaders]error{}
	var wg sync.WaitGroup
	for k := 1; k < parts; k++ {
		i, j := len(found)*k/parts, len(found)*(k+1)/parts
		wg.Go(func() { errs[k] = x.read(items[i:j], found[i:j]) })
	}
	errs[0] = x.read(items[:len(found)/parts], found[:len(found)/parts])
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return Page{}, err
	}
	page.Items = slices.DeleteFunc(items, func(it journal.Item) bool { return it.Seq == 0 })
	return page, nil
}

const (
	// maxReaders is how many goroutines read the records of a page at most.
	maxReaders = 4
	// scattered is how far apart a page's records are on the average that do not
	// lie in the same blocks, so that several read them sooner.
	scattered = 8
)

// readers is how many goroutines read the records of a page.
func readers(found []position) int {
	if len(found) < 2*maxReaders {
		return 1
	}
	first, last := found[len(found)-1].seq, found[0].seq // but for clocks that were set back
	if last < first || last-first < scattered*uint64(len(found)) {
		return 1
	}
	return min(maxReaders, runtime.GOMAXPROCS(0))
}

// read reads the records of positions; one that expired between the index and
// here stays empty.
func (x *Index) read(items []journal.Item, found []position) (err error) {
	records := x.cfg.Journal.Reader()
	defer func() { err = errors.Join(err, records.Close()) }()
	for i, p := range found {
		if items[i], err = records.Get(p.seq); errors.Is(err, kv.ErrNotFound) {
			items[i] = journal.Item{}
		} else if err != nil {
			return fmt.Errorf("reading record %d: %w", p.seq, err)
		}
	}
	return nil
}

// collect gives up to q.Max+1 positions, from memory and, week after week, from
// the store.
func (x *Index) collect(q Query, code byte, from position, after *position, floor time.Time) ([]position, error) {
	key := listKey(nil, code, q.Account, q.Region, q.Value)
	oldest := position{ms: max(floor.UnixMilli(), 0)}
	if after != nil {
		if from.seq == 0 { // the event before it in the order
			from = position{from.ms - 1, ^uint64(0)}
		} else {
			from.seq--
		}
	}
	// Memory first: what is not there any more by then is in the store, and what
	// is found twice counts once.
	x.mu.Lock()
	days, old := x.days, x.old
	if code == attributeCode[ByEventID] {
		if p, ok := x.ids.find(key); ok {
			x.mu.Unlock()
			if p.newer(from) || oldest.newer(p) {
				return nil, nil
			}
			return []position{p}, nil
		}
	}
	out := x.newest(key, from, oldest, q.Max+1)
	x.mu.Unlock()
	if len(out) > q.Max {
		oldest = out[q.Max]
	}
	stored, err := x.stored(key, days, old, from, oldest, q.Max+1)
	if err != nil {
		return nil, err
	}
	if len(out) > 0 {
		out = append(out, stored...)
		slices.SortFunc(out, compare)
		out = slices.Compact(out)
		return out[:min(len(out), q.Max+1)], nil
	}
	return stored, nil
}

// stored gives the newest events of a list that are in the store and between
// two positions, at most limit of them, newest first. Weeks without an event of
// the list are passed over by a seek each.
func (x *Index) stored(key []byte, days, old []uint32, from, to position, limit int) (out []position, err error) {
	it, err := x.cfg.Store.DB().NewIter(&pebble.IterOptions{
		LowerBound: []byte{byte(kv.SpaceHistory), indexMark}, UpperBound: []byte{byte(kv.SpaceHistory), weekMark + 1},
	})
	if err != nil {
		return nil, fmt.Errorf("reading event history: %w", err)
	}
	defer func() {
		if e := errors.Join(err, it.Close()); e != nil {
			out, err = nil, fmt.Errorf("reading event history: %w", e)
		}
	}()
	var prefix []byte
	read := func(days, first uint32, limit int) (err error) {
		begin := from
		if newest := (position{int64(first+days)*dayMS - 1, ^uint64(0)}); begin.newer(newest) {
			begin = newest
		}
		return readList(it, prefix, begin, func(p position) bool {
			if to.newer(p) {
				return false
			}
			out = append(out, p)
			limit--
			return limit > 0
		})
	}
	last := ^uint32(0)
	for i := len(days) - 1; i >= 0 && len(out) < limit; i-- {
		week := days[i] / weekDays
		first := week * weekDays
		if week == last || int64(first)*dayMS > from.ms {
			continue
		}
		if int64(first+weekDays)*dayMS <= to.ms {
			break
		}
		last = week
		prefix = append(appendWeek(prefix[:0], week), key...)
		had := len(out)
		if err := read(weekDays, first, limit-had); err != nil {
			return nil, err
		}
		k, _ := slices.BinarySearch(old, first+weekDays)
		byWeek := len(out)
		for k--; k >= 0 && old[k] >= first && len(out)-byWeek < limit-had; k-- {
			prefix = append(appendDay(prefix[:0], old[k]), key...)
			if err := read(1, old[k], limit-had-(len(out)-byWeek)); err != nil {
				return nil, err
			}
		}
		if len(out) > byWeek {
			slices.SortFunc(out[had:], compare)
			out = out[:min(len(out), limit)]
		}
	}
	return out, nil
}

func hasPrefix(b, prefix []byte) bool {
	return len(b) >= len(prefix) && string(b[:len(prefix)]) == string(prefix)
}

func decodePosition(b []byte) (position, error) {
	if len(b) != 16 {
		return position{}, errors.New("history: a key of the index is damaged")
	}
	return position{int64(^binary.BigEndian.Uint64(b)), ^binary.BigEndian.Uint64(b[8:])}, nil
}
