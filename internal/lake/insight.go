package lake

import (
	"time"

	"spoor/internal/kv"
)

// WithInsights lists the stores that take events and have Insights on, of all
// accounts.
func (m *Manager) WithInsights() []*Store {
	var out []*Store
	for _, list := range m.snap.Load().active {
		for _, a := range list {
			if len(a.store.Insights) > 0 {
				out = append(out, a.store)
			}
		}
	}
	return out
}

// Covers reports whether the store takes events of a region.
func (s *Store) Covers(region string) bool { return s.Settings.MultiRegion || region == s.Region }

// PutInsight writes an Insights event into the store that takes those of
// another, in a batch of the caller's. It does nothing when the store takes
// none any more.
func (m *Manager) PutInsight(b *kv.Batch, arn string, t time.Time, id, event []byte) {
	if s := m.Lookup(arn); s != nil && s.inForce().Ingesting {
		b.Set(eventKey(nil, s.ID, t, FromInsights, id), event)
	}
}

// insightColumns are the columns of a store of Insights events (CloudTrail user
// guide, "CloudTrail record contents for Insights events for event data
// stores").
var insightColumns = []hiveColumn{
	{"eventversion", "string"}, {"eventcategory", "string"}, {"eventtype", "string"}, {"eventid", "string"}, {"eventtime", "timestamp"},
	{"awsregion", "string"}, {"recipientaccountid", "string"}, {"sharedeventid", "string"},
	{"addendum", "struct<reason:string,updatedfields:string,originalrequestid:string,originaleventid:string>"},
	{"insightsource", "string"}, {"insightstate", "string"}, {"insighteventsource", "string"}, {"insighteventname", "string"},
	{"insighterrorcode", "string"}, {"insighttype", "string"},
	{"insightcontext", "struct<baselineaverage:double,insightaverage:double,baselineduration:int,insightduration:int," +
		"attributions:array<struct<attribute:string,insightvalue:string,insightaverage:double,baselinevalue:string,baselineaverage:double," +
		"insight:array<struct<value:string,average:double>>,baseline:array<struct<value:string,average:double>>>>>"},
}
