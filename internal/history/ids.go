package history

import (
	"bytes"
	"hash/maphash"
	"slices"

	"spoor/internal/kv"
)

// An event's id is in no other event, so its list cannot share a key. To keep
// the store from sorting every small batch of random keys into all others again
// and again, ids collect in memory and are written many at a time. The cursor
// "history-ids" says up to where they are written; those behind it are read
// from the journal again at the next start.
const (
	idsCursor = "history-ids"
	// idsBatch is how many ids are written at a time, some 10 MiB in memory.
	idsBatch = 65536
)

// ids are the ids that are not written yet, in few pieces of memory.
type ids struct {
	list  []id // elements are never changed
	arena []byte
	seed  maphash.Seed
}

type id struct {
	key []byte // the list's key
	sum uint64 // of the key
	at  position
}

// find looks at all of them: an id is looked up far less often than made.
func (i *ids) find(key []byte) (position, bool) {
	sum := maphash.Bytes(i.seed, key)
	for k := range i.list {
		if x := &i.list[k]; x.sum == sum && bytes.Equal(x.key, key) {
			return x.at, true
		}
	}
	return position{}, false
}

func (i *ids) len() int { return len(i.list) }

func (i *ids) add(account, region, event string, p position) {
	need := 1 + len(account) + len(region) + len(event)
	if need = 2*need + 6; need > cap(i.arena)-len(i.arena) { // every byte may need an escape
		i.arena = make([]byte, 0, max(16<<10, need))
	}
	at := len(i.arena)
	i.arena = listKey(i.arena, attributeCode[ByEventID], account, region, event)
	key := i.arena[at:len(i.arena):len(i.arena)]
	i.list = append(i.list, id{key, maphash.Bytes(i.seed, key), p})
}

// forget forgets the first n.
func (i *ids) forget(n int) {
	i.list = slices.Clone(i.list[n:])
	if len(i.list) == 0 {
		i.list, i.arena = nil, nil
	}
}

// writeIDs puts ids into a batch, in the keys' order.
func writeIDs(b *kv.Batch, list []id) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b id) int { return bytes.Compare(a.key, b.key) })
	var key []byte
	for _, x := range list {
		key = append(appendWeek(key[:0], dayOfMS(x.at.ms)/weekDays), x.key...)
		b.Set(x.at.append(key), nil)
	}
}
