package verify

import (
	"bytes"
	"context"
	"errors"
	"hash/maphash"
	"slices"
)

var errRecords = errors.New("the log file is not a list of records")

// span is a record of a log file.
type span struct {
	begin, end int
	id         []byte // eventID; aggregated events call it eventId
}

// spans finds each record of a log file and its eventID, without decoding: it
// walks the JSON and looks at the names of the members of the objects in the
// outer array. The file's hash has been checked, so this need not validate,
// only never fail on anything.
func spans(b []byte) ([]span, error) {
	const head = logHead
	if !bytes.HasPrefix(b, []byte(head)) || !bytes.HasSuffix(b, []byte(logTail)) {
		return nil, errRecords
	}
	out := make([]span, 0, len(b)/1024+1)
	depth := 2
	for i := len(head); i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			if depth == 2 {
				out = append(out, span{begin: i})
			}
			depth++
		case '}', ']':
			depth--
			if depth == 2 && len(out) > 0 {
				out[len(out)-1].end = i + 1
			}
		case '"':
			end := stringEnd(b, i)
			if end < 0 {
				return nil, errRecords
			}
			name := b[i+1 : end]
			i = end
			if depth == 3 && (string(name) == "eventID" || string(name) == "eventId") && len(out) > 0 && end+2 < len(b) && b[end+1] == ':' && b[end+2] == '"' {
				stop := stringEnd(b, end+2)
				if stop < 0 {
					return nil, errRecords
				}
				out[len(out)-1].id = b[end+3 : stop]
				i = stop
			}
		}
	}
	if depth != 0 {
		return nil, errRecords
	}
	for i := range out {
		if out[i].id == nil || out[i].end == 0 {
			return nil, errRecords
		}
	}
	return out, nil
}

// stringEnd is the index of the quote that ends the string which begins at i,
// or -1.
func stringEnd(b []byte, i int) int {
	for j := i + 1; j < len(b); {
		q := bytes.IndexByte(b[j:], '"')
		if q < 0 {
			return -1
		}
		j += q
		if b[j-1] != '\\' {
			return j
		}
		slashes := 0
		for b[j-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return j
		}
		j++
	}
	return -1
}

// idSet remembers event ids in eight bytes each.
type idSet struct {
	seed   maphash.Seed
	hashes []uint64
}

func newIDSet() *idSet { return &idSet{seed: maphash.MakeSeed()} }

func (s *idSet) hash(id []byte) uint64 { return maphash.Bytes(s.seed, id) }

// repeated are the hashes that are there more than once. It sorts the set.
func (s *idSet) repeated() map[uint64]bool {
	slices.Sort(s.hashes)
	var out map[uint64]bool
	for i := 1; i < len(s.hashes); i++ {
		if s.hashes[i] == s.hashes[i-1] {
			if out == nil {
				out = map[uint64]bool{}
			}
			out[s.hashes[i]] = true
		}
	}
	return out
}

// duplicates names the events that are there twice. Only when hashes repeat,
// which without duplicates is as good as never, the files are read again.
func (v *verifier) duplicates(ctx context.Context, regions []*region) error {
	repeated := v.ids.repeated()
	if len(repeated) == 0 {
		return nil
	}
	where := map[string]string{} // event id → log file
	for _, r := range regions {
		keys := make([]string, 0, len(r.listed))
		for key := range r.listed {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		for _, key := range keys {
			plain, _, err := v.get(ctx, v.cfg.Bucket, key, maxLogFile)
			if errors.Is(err, ErrNotFound) || errors.Is(err, errGzip) {
				continue // found before
			}
			if err != nil {
				return err
			}
			records, err := spans(plain)
			if err != nil {
				continue // found before
			}
			for i := range records {
				id := records[i].id
				if !repeated[v.ids.hash(id)] {
					continue
				}
				if first, twice := where[string(id)]; twice {
					v.find(Finding{Kind: DuplicateEvent, Region: r.Region, Bucket: v.cfg.Bucket, Key: key, EventID: string(id), Detail: "the event is also in " + first})
				} else {
					where[string(id)] = key
				}
			}
		}
	}
	return nil
}
