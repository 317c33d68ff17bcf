package lake

import (
	"encoding/binary"
	"reflect"
	"time"

	"spoor/internal/athena/serde"
	"spoor/internal/aws"
	"spoor/internal/kv"
	"spoor/internal/record"
	"spoor/internal/trail"
)

// formatVersion is the version of every row that this package writes.
const formatVersion = 1

// PendingDeletion is how long a deleted store can be restored (CloudTrail API
// reference, "DeleteEventDataStore").
const PendingDeletion = 7 * 24 * time.Hour

// Settings are what of a store decides on what it takes from the journal.
type Settings struct {
	Ingesting   bool            `json:"ingesting"`
	MultiRegion bool            `json:"multiRegion"`
	Selectors   trail.Selectors `json:"selectors"`
	// Large are events of up to 1 MB. RequestKeys and TagKeys are what their
	// eventContext has, of a store with large events only.
	Large       bool     `json:"large,omitempty"`
	RequestKeys []string `json:"requestKeys,omitempty"`
	TagKeys     []string `json:"tagKeys,omitempty"`
}

// form is the form that records have with these settings.
func (s *Settings) form() record.Form {
	return record.Form{Large: s.Large, RequestKeys: s.RequestKeys, TagKeys: s.TagKeys}
}

// Insight is one insight selector of a store or trail.
type Insight struct {
	Type       string   `json:"type"`
	Categories []string `json:"categories,omitempty"`
}

// Store is an event data store. One that Manager gave out does not change.
type Store struct {
	Version       int         `json:"version"`
	Account       string      `json:"account"`
	Region        string      `json:"region"`
	ID            string      `json:"id"` // UUID, the end of its ARN
	Name          string      `json:"name"`
	Settings      Settings    `json:"settings"`
	RetentionDays int         `json:"retentionDays"`
	Billing       string      `json:"billing"`
	Protected     bool        `json:"protected"` // from deletion
	Created       time.Time   `json:"created"`
	Updated       time.Time   `json:"updated"`
	Deleted       time.Time   `json:"deleted,omitzero"` // pending deletion since
	Tags          []trail.Tag `json:"tags,omitempty"`
	Policy        string      `json:"policy,omitempty"`
	Insights      []Insight   `json:"insights,omitempty"`
	InsightsTo    string      `json:"insightsTo,omitempty"` // ARN of the store that takes them
	// FederationRole is the role's ARN while the store is federated.
	FederationRole string `json:"federationRole,omitempty"`
}

// ARN is the store's ARN.
func (s *Store) ARN() string { return ARN(s.Account, s.Region, s.ID) }

// ARN makes a store's ARN.
func ARN(account, region, id string) string {
	return aws.NewARN("cloudtrail", region, account, "eventdatastore/"+id).String()
}

// inForce are the settings that hold: a store that is about to be deleted
// takes nothing.
func (s *Store) inForce() Settings {
	if s == nil {
		return Settings{}
	}
	set := s.Settings
	set.Ingesting = set.Ingesting && s.Deleted.IsZero()
	return set
}

// gone reports whether a deleted store can no longer be restored.
func (s *Store) gone(now time.Time) bool {
	return !s.Deleted.IsZero() && !now.Before(s.Deleted.Add(PendingDeletion))
}

func sameSettings(a, b Settings) bool {
	return a.Ingesting == b.Ingesting && (!a.Ingesting || reflect.DeepEqual(a, b))
}

// running is what the reader of the journal does for one store.
type running struct {
	Version  int      `json:"version"`
	Account  string   `json:"account"`
	Region   string   `json:"region"`
	ID       string   `json:"id"`
	Settings Settings `json:"settings"`
}

// change is a store's settings from one record of the journal on. EventID is
// of the call that made it; the call's record and this row are one batch.
type change struct {
	running
	EventID string `json:"eventId"`
}

func storeKey(account, region, id string) []byte {
	return kv.Key(kv.SpaceState, "cloudtrail", "event-data-store", account, region, id)
}

func storePrefix() []byte { return kv.Key(kv.SpaceState, "cloudtrail", "event-data-store") }

func runPrefix() []byte { return kv.Key(kv.SpaceLake, "run") }

func runKey(id string) []byte { return kv.Key(kv.SpaceLake, "run", id) }

func changePrefix() []byte { return kv.Key(kv.SpaceLake, "change") }

// changeKey orders changes by the journal's head at their time. Two of one
// head cannot be: their calls held the lock one after the other, so the first
// one's record is in between.
func changeKey(head uint64, id string) []byte {
	return kv.AppendString(kv.AppendUint64(changePrefix(), head), id)
}

// Origin says how an event came into a store.
type Origin byte

const (
	FromJournal  Origin = 'j'
	FromChannel  Origin = 'c'
	FromImport   Origin = 'i'
	FromInsights Origin = 'n'
)

// Event key format: kv.SpaceLake, "event", store, day of the event (4 bytes,
// days since 1970, big-endian), origin, then what is unique for the origin:
// the journal's number (8 bytes), a channel or Insights event's id or an
// import's file and position (20 bytes). The value is the event's JSON. The
// day leads, so that expiry is a range.

func eventPrefix(store string) []byte { return kv.Key(kv.SpaceLake, "event", store) }

// lastTime is the last time that an event may have: text has four digits for a
// year.
var lastTime = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// Storable reports whether an event from outside can be kept and read again: a
// JSON object, not nested too deeply, of a time that can be written.
func Storable(event []byte, when time.Time) bool {
	return serde.ReadableEvent(event) && !when.After(lastTime)
}

func dayOf(t time.Time) uint32 { return uint32(max(t.Unix(), 0) / 86400) }

func eventKey(dst []byte, store string, t time.Time, o Origin, id []byte) []byte {
	dst = append(dst[:0], eventPrefix(store)...)
	dst = binary.BigEndian.AppendUint32(dst, dayOf(t))
	dst = append(dst, byte(o))
	return append(dst, id...)
}
