package insights

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"sort"

	"spoor/internal/lake"
	"spoor/internal/record"
	"spoor/internal/trail"
)

// plan is what has Insights on, at one moment.
type plan struct {
	versions versions
	accounts map[string][]source
	anyData  bool
	retired  bool // nothing has, and the cursor is given up
}

// versions tell a plan from the next.
type versions struct{ trails, lake uint64 }

func (c *Config) versions() versions { return versions{c.Trails.Version(), c.Lake.Version()} }

// source is a trail or an event data store with Insights on.
type source struct {
	account  string
	insights []trail.Insight
	trail    string       // ARN, or empty
	taker    *trail.Taker // of a trail
	store    *lake.Store  // or of a store
	match    trail.Matcher
	coverage string
}

func (s *source) wants(typ, category string) bool {
	for _, i := range s.insights {
		if i.Type == typ && slices.Contains(i.Categories, category) {
			return true
		}
	}
	return false
}

func (s *source) covers(region string) bool {
	if s.taker != nil {
		return s.taker.Covers(region)
	}
	return s.store.Covers(region)
}

func (s *source) takes(e *record.Entry) bool {
	if s.taker != nil {
		return s.taker.Takes(e)
	}
	return s.covers(e.Field(record.FieldRegion)) && s.match.SelectsEntry(e)
}

// refresh gives the plan, made anew when trails or stores have changed since
// old, and reports whether it was.
func refresh(c *Config, old *plan) (*plan, bool) {
	v := c.versions()
	if old != nil && old.versions == v {
		return old, false
	}
	next := &plan{versions: v, accounts: map[string][]source{}}
	for _, t := range c.Trails.WithInsights() {
		s := source{account: t.Account, insights: t.Settings.Insights, trail: t.ARN(), taker: &t,
			coverage: coverage(t.ARN(), t.Settings.MultiRegion, t.Settings.GlobalEvents, t.Settings.Selectors)}
		next.accounts[t.Account] = append(next.accounts[t.Account], s)
		next.anyData = next.anyData || s.wants(CallRate, record.OnData) || s.wants(ErrorRate, record.OnData)
	}
	for _, st := range c.Lake.WithInsights() {
		s := source{account: st.Account, store: st, match: trail.NewMatcher(st.Settings.Selectors),
			coverage: coverage(st.ARN(), st.Settings.MultiRegion, true, st.Settings.Selectors)}
		for _, i := range st.Insights {
			s.insights = append(s.insights, trail.Insight(i))
		}
		next.accounts[st.Account] = append(next.accounts[st.Account], s)
	}
	return next, true
}

// coverage says what a trail or store takes, as text.
func coverage(arn string, everywhere, global bool, sel trail.Selectors) string {
	b, err := json.Marshal(sel)
	if err != nil {
		panic(fmt.Sprintf("insights: encoding selectors: %v", err)) // texts and numbers only
	}
	return fmt.Sprintf("%s %t %t %s", arn, everywhere, global, b)
}

func (p *plan) empty() bool { return len(p.accounts) == 0 }

// scopes lists what is to be watched, each with a digest of what makes up its
// counts.
func (p *plan) scopes() map[scopeKey]string {
	texts := map[scopeKey][]string{}
	for account, sources := range p.accounts {
		for i := range sources {
			s := &sources[i]
			for _, typ := range []string{CallRate, ErrorRate} {
				if s.wants(typ, record.OnManagement) {
					k := scopeKey{Account: account, Type: typ}
					texts[k] = append(texts[k], s.coverage)
				}
				if s.wants(typ, record.OnData) && s.trail != "" {
					k := scopeKey{account, s.trail, typ}
					texts[k] = append(texts[k], s.coverage)
				}
			}
		}
	}
	out := map[scopeKey]string{}
	for k, list := range texts {
		sort.Strings(list)
		sum := sha256.New()
		for _, t := range list {
			fmt.Fprintf(sum, "%d %s\n", len(t), t)
		}
		out[k] = hex.EncodeToString(sum.Sum(nil)[:16])
	}
	return out
}

// takers are who gets the insights on a series: whether some trail does, and
// which stores.
func (p *plan) takers(k *Key) (trails bool, stores []*lake.Store) {
	for i := range p.accounts[k.Account] {
		s := &p.accounts[k.Account][i]
		switch {
		case !s.covers(k.Region):
		case k.Trail != "":
			trails = trails || s.trail == k.Trail && s.wants(k.Type, record.OnData)
		case !s.wants(k.Type, record.OnManagement):
		case s.store != nil:
			stores = append(stores, s.store)
		default:
			trails = true
		}
	}
	return trails, stores
}
