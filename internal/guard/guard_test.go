package guard

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// clock is a time that tests move.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func newGuard(perMinute int) (*Guard, *clock) {
	c := &clock{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	return New(perMinute, c.now), c
}

var here, there = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")

func TestFailuresSlowDownAnAddress(t *testing.T) {
	t.Parallel()
	g, c := newGuard(6) // one every ten seconds
	for i := range 6 {
		if wait := g.Admit(here, "a"); wait != 0 {
			t.Fatalf("attempt %d waits %s, want none", i+1, wait)
		}
		if used := g.Failed(here, fmt.Sprint("name", i)); used != (i == 5) {
			t.Errorf("attempt %d: used up = %v", i+1, used)
		}
	}
	wait := g.Admit(here, "another name")
	if wait < 9*time.Second || wait > 11*time.Second {
		t.Errorf("the seventh attempt waits %s, want about 10s", wait)
	}
	if w := g.Admit(there, "a"); w != 0 {
		t.Errorf("another address waits %s", w)
	}
	c.t = c.t.Add(wait)
	if w := g.Admit(here, "a"); w != 0 {
		t.Errorf("after the wait it still waits %s", w)
	}
	g.Failed(here, "a")
	if g.Admit(here, "a") == 0 {
		t.Error("after the wait it may fail more than once")
	}
	c.t = c.t.Add(2 * time.Minute)
	for i := range 6 {
		if g.Admit(here, "a") != 0 {
			t.Fatalf("after two minutes attempt %d waits", i+1)
		}
		g.Failed(here, "a")
	}
}

func TestSuccessClearsNothing(t *testing.T) {
	t.Parallel()
	g, _ := newGuard(3)
	for range 3 {
		g.Failed(here, "mallory")
	}
	g.Succeeded(here, "mallory2") // known to somebody, under way before the limit was reached
	if g.Admit(here, "mallory") == 0 {
		t.Error("another credential's success cleared the failures")
	}
	if g.Admit(here, "mallory2") != 0 {
		t.Error("a credential that succeeds from the address is shut out by others' failures")
	}
	// Its own failures count, and its success does not clear them.
	for range 3 {
		g.Failed(here, "mallory2")
	}
	g.Succeeded(here, "mallory2")
	if g.Admit(here, "mallory2") == 0 {
		t.Error("a success cleared the same credential's failures")
	}
}

func TestASuccessVouchesForAnHour(t *testing.T) {
	t.Parallel()
	g, c := newGuard(1)
	g.Succeeded(here, "alice")
	c.t = c.t.Add(knownFor + time.Second)
	g.Failed(here, "mallory")
	if g.Admit(here, "alice") == 0 {
		t.Error("a success of long ago still vouches")
	}
}

func TestABurstIsPaidBack(t *testing.T) {
	t.Parallel()
	g, c := newGuard(60)
	for range 100_000 { // all admitted before the first had failed
		g.Failed(here, "a")
	}
	wait := g.Admit(here, "a")
	if wait < maxDebt-time.Minute || wait > maxDebt+time.Minute {
		t.Errorf("the address waits %s, want about %s", wait, maxDebt)
	}
	c.t = c.t.Add(wait)
	if w := g.Admit(here, "a"); w != 0 {
		t.Errorf("it waits %s more than it was told", w)
	}
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"2001:db8::1", "2001:db8::2", true},
		{"2001:db8:0:1::1", "2001:db8:0:2::1", false},
		{"fe80::1%a", "fe80::1%b", true},
	} {
		g, _ := newGuard(1)
		g.Failed(netip.MustParseAddr(tt.a), "x")
		if got := g.Admit(netip.MustParseAddr(tt.b), "x") != 0; got != tt.same {
			t.Errorf("%s and %s are counted together: %v, want %v", tt.a, tt.b, got, tt.same)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	g, _ := newGuard(1)
	for i := range 3 * maxSources {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		g.Failed(a, "x")
	}
	for i := range 2 * maxKnown {
		g.Succeeded(here, fmt.Sprint(i))
	}
	if n := len(g.sources.entries); n != maxSources || g.sources.order.Len() != n {
		t.Errorf("%d addresses are remembered, want %d", n, maxSources)
	}
	if n := len(g.known.entries); n != maxKnown || g.known.order.Len() != n {
		t.Errorf("%d credentials are remembered, want %d", n, maxKnown)
	}
}

func TestOff(t *testing.T) {
	t.Parallel()
	g := New(0, time.Now)
	for range 1000 {
		g.Failed(here, "a")
	}
	g.Succeeded(here, "a")
	if g.Admit(here, "a") != 0 {
		t.Error("a guard without a limit shuts out")
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	g := New(10, time.Now)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			name := fmt.Sprint(i % 4)
			for range 200 {
				g.Admit(here, name)
				g.Failed(here, name)
				g.Succeeded(there, name)
				g.Admit(there, name)
			}
		})
	}
	wg.Wait()
	if g.Admit(here, "0") == 0 {
		t.Error("1600 failures at once are not noticed")
	}
}

func BenchmarkSucceeding(b *testing.B) {
	g := New(10, time.Now)
	b.ReportAllocs()
	for b.Loop() {
		g.Admit(here, "AKIAIOSFODNN7EXAMPLE")
		g.Succeeded(here, "AKIAIOSFODNN7EXAMPLE")
	}
}
