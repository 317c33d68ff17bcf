// Package guard slows down those who fail to prove who they are.
//
// It stands before authentication in a call's path: a listener asks it whether
// an address may try (Admit) and tells it how that went (Failed, Succeeded).
// Secrets have 240 bits and more, so what it saves is not them but the work and
// the records that failures make.
//
// Failures are counted for an address. A credential that has succeeded from
// there is counted by itself: others' failures behind the same address do not
// shut it out, and its success clears nothing of theirs.
package guard

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// Limits of what is remembered. What is used longest ago gives way.
const (
	maxSources = 8 << 10
	maxKnown   = 32 << 10
	// maxCredential bounds the part of a credential's name that is told apart,
	// in bytes; access key ids have 20.
	maxCredential = 128
	// knownFor is how long a success vouches for a credential.
	knownFor = time.Hour
	// noteStep is how exact the time of a success is kept.
	noteStep = time.Minute
	// maxDebt bounds how long an address waits after a burst of failures that
	// were under way at the same time.
	maxDebt = 15 * time.Minute
	// v6Bits is the network that one customer has (RFC 6177).
	v6Bits = 64
)

// Guard counts failures. It is safe for concurrent use. The nil Guard admits
// everybody.
type Guard struct {
	now   func() time.Time
	burst float64 // failures that may come at once
	rate  float64 // failures a second that are forgotten

	mu      sync.RWMutex
	sources table[netip.Prefix]
	known   table[pair]
}

type pair struct {
	source     netip.Prefix
	credential string
}

// New makes a Guard that lets an address fail perMinute times in a minute, all
// at once or one by one; 0 means no limit.
func New(perMinute int, now func() time.Time) *Guard {
	if perMinute <= 0 {
		return nil
	}
	return &Guard{now: now, burst: float64(perMinute), rate: float64(perMinute) / 60,
		sources: newTable[netip.Prefix](maxSources), known: newTable[pair](maxKnown)}
}

// Admit reports how long an address has to wait before it may present a
// credential; 0 means that it may now.
func (g *Guard) Admit(from netip.Addr, credential string) time.Duration {
	if g == nil {
		return 0
	}
	p, now := pairOf(from, credential), g.now()
	g.mu.RLock()
	defer g.mu.RUnlock()
	e := g.known.get(p)
	if e == nil || now.Sub(e.success) > knownFor {
		if e = g.sources.get(p.source); e == nil {
			return 0
		}
	}
	if e.fits(now, g) {
		return 0
	}
	return max(time.Duration((e.levelAt(now, g.rate)+1-g.burst)/g.rate*float64(time.Second)), time.Millisecond)
}

// Failed counts a failure. It reports whether the address has just used up what
// it may.
func (g *Guard) Failed(from netip.Addr, credential string) (usedUp bool) {
	if g == nil {
		return false
	}
	p, now := pairOf(from, credential), g.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.known.get(p)
	if e != nil && now.Sub(e.success) <= knownFor {
		g.known.touch(p)
	} else {
		e = g.sources.put(p.source)
	}
	fitted := e.fits(now, g)
	e.level, e.at = min(e.levelAt(now, g.rate)+1, g.burst+g.rate*maxDebt.Seconds()), now
	return fitted && !e.fits(now, g)
}

// Succeeded notes that a credential proved itself. It forgives no failure.
func (g *Guard) Succeeded(from netip.Addr, credential string) {
	if g == nil {
		return
	}
	p, now := pairOf(from, credential), g.now()
	g.mu.RLock()
	e := g.known.get(p)
	fresh := e != nil && now.Sub(e.success) < noteStep
	g.mu.RUnlock()
	if fresh {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.known.put(p).success = now
}

// pairOf takes an address as its network for IPv6, where one host has many.
func pairOf(from netip.Addr, credential string) pair {
	from = from.Unmap().WithZone("")
	bits := from.BitLen()
	if from.Is6() {
		bits = v6Bits
	}
	source, err := from.Prefix(bits)
	if err != nil {
		source = netip.Prefix{} // no address: all such callers are one
	}
	if len(credential) > maxCredential {
		credential = credential[:maxCredential]
	}
	return pair{source, credential}
}

// entry is a leaky bucket of failures.
type entry struct {
	level   float64
	at      time.Time // of level
	success time.Time // the last one of a known credential
}

// levelAt is what is left of the failures at a time.
func (e *entry) levelAt(now time.Time, rate float64) float64 {
	return max(0, e.level-now.Sub(e.at).Seconds()*rate)
}

// fits reports whether one more failure has room. Levels are sums of fractions,
// so a thousandth of a failure is let pass.
func (e *entry) fits(now time.Time, g *Guard) bool {
	return e.levelAt(now, g.rate)+1 <= g.burst+1e-3
}

// table is a bounded map whose oldest entry gives way.
type table[K comparable] struct {
	limit   int
	entries map[K]*list.Element
	order   *list.List // of item[K], the newest first
}

type item[K comparable] struct {
	key   K
	entry entry
}

func newTable[K comparable](limit int) table[K] {
	return table[K]{limit: limit, entries: map[K]*list.Element{}, order: list.New()}
}

func (t *table[K]) get(k K) *entry {
	if el := t.entries[k]; el != nil {
		return &el.Value.(*item[K]).entry
	}
	return nil
}

func (t *table[K]) touch(k K) { t.order.MoveToFront(t.entries[k]) }

// put finds an entry or makes it.
func (t *table[K]) put(k K) *entry {
	if el := t.entries[k]; el != nil {
		t.order.MoveToFront(el)
		return &el.Value.(*item[K]).entry
	}
	if len(t.entries) >= t.limit {
		last := t.order.Back()
		delete(t.entries, t.order.Remove(last).(*item[K]).key)
	}
	it := &item[K]{key: k}
	t.entries[k] = t.order.PushFront(it)
	return &it.entry
}
