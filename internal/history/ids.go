package history

import (
	"bytes"
	"slices"
	"sync"

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

// ids are the ids that are not written yet.
type ids struct {
	mu   sync.RWMutex
	list []id
}

type id struct {
	key []byte // the list's prefix without the day
	at  position
}

func idKey(dst []byte, account, region, id string) []byte {
	return kv.AppendString(kv.AppendString(kv.AppendString(dst, account), region), id)
}

// find looks at all of them: an id is looked up far less often than made.
func (i *ids) find(account, region, id string) (position, bool) {
	key := idKey(nil, account, region, id)
	i.mu.RLock()
	defer i.mu.RUnlock()
	for k := range i.list {
		if bytes.Equal(i.list[k].key, key) {
			return i.list[k].at, true
		}
	}
	return position{}, false
}

func (i *ids) len() int {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return len(i.list)
}

func (i *ids) add(list []id) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.list = append(i.list, list...)
}

func (i *ids) clear() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.list = nil
}

// write puts all ids and those of list into a batch, in the keys' order.
func (i *ids) write(b *kv.Batch, list []id) {
	i.mu.RLock()
	all := slices.Concat(i.list, list)
	i.mu.RUnlock()
	slices.SortFunc(all, func(a, b id) int { return bytes.Compare(a.key, b.key) })
	var key []byte
	for _, x := range all {
		key = append(appendDay(key[:0], dayOfMS(x.at.ms)), attributeCode[ByEventID])
		b.Set(x.at.append(append(key, x.key...)), nil)
	}
}

// gathered are the ids of one commit, in few pieces of memory.
type gathered struct {
	list  []id
	arena []byte
}

func (g *gathered) add(account, region, event string, p position) {
	need := len(account) + len(region) + len(event)
	if need = 2*need + 6; need > cap(g.arena)-len(g.arena) { // every byte may need an escape
		g.arena = make([]byte, 0, max(16<<10, need))
	}
	at := len(g.arena)
	g.arena = idKey(g.arena, account, region, event)
	g.list = append(g.list, id{g.arena[at:len(g.arena):len(g.arena)], p})
}
