package lake

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"spoor/internal/record"
	"spoor/internal/trail"
)

// TestWanted: what is wanted of an account's records is what its stores of large
// events want that take events of the region; without such stores asking costs
// no memory.
func TestWanted(t *testing.T) { // not parallel: it counts allocations
	store := func(id, account, region string, everywhere, ingesting bool, large bool, keys ...string) *Store {
		return &Store{ID: id, Account: account, Region: region, Settings: Settings{Ingesting: ingesting, MultiRegion: everywhere, Large: large, RequestKeys: keys, TagKeys: keys,
			Selectors: trail.Selectors{}}}
	}
	m := &Manager{}
	m.snap.Store(newSnapshot(map[string]*Store{"s": store("s", "1", "us-east-1", true, true, false)}))
	if n := testing.AllocsPerRun(100, func() {
		if m.Wanted("1", "us-east-1") != nil {
			t.Error("a standard store wants something")
		}
	}); n != 0 {
		t.Errorf("asking allocates %v times", n)
	}
	m.snap.Store(newSnapshot(map[string]*Store{
		"a": store("a", "1", "us-east-1", false, true, true, "b", "a"), "b": store("b", "1", "us-east-1", true, true, true, "c", "a"),
		"c": store("c", "1", "eu-west-1", true, false, true, "stopped"), "d": store("d", "2", "eu-west-1", false, true, true),
		"e": store("e", "3", "eu-west-1", false, true, false)}))
	for at, want := range map[[2]string]*record.Wanted{
		{"1", "us-east-1"}: {RequestKeys: []string{"a", "b", "c"}, TagKeys: []string{"a", "b", "c"}},
		{"1", "eu-west-1"}: {RequestKeys: []string{"a", "c"}, TagKeys: []string{"a", "c"}},
		{"2", "eu-west-1"}: {}, {"2", "us-east-1"}: nil, {"3", "eu-west-1"}: nil, {"4", "us-east-1"}: nil,
	} {
		if d := cmp.Diff(want, m.Wanted(at[0], at[1])); d != "" {
			t.Errorf("%v: %s", at, d)
		}
	}
}
