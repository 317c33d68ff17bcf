package trail

import (
	"slices"
	"strings"
	"time"

	"spoor/internal/aws"
	"spoor/internal/kv"
)

// formatVersion is the version of every row that this package writes.
const formatVersion = 1

// Settings are what of a trail decides on delivery. A follower works with the
// settings that were in force at each record.
type Settings struct {
	Logging      bool      `json:"logging"`
	Bucket       string    `json:"bucket"`
	Prefix       string    `json:"prefix,omitempty"`
	MultiRegion  bool      `json:"multiRegion"`
	GlobalEvents bool      `json:"globalEvents"`
	Validation   bool      `json:"validation"`
	Selectors    Selectors `json:"selectors"`
	Insights     []Insight `json:"insights,omitempty"`
	// Templates are the aggregations that the trail's data events have.
	Templates []string `json:"templates,omitempty"`
	// Topic is the ARN of the SNS topic that is told of log files, LogGroup that
	// of the log group that gets the records, by the role LogRole; each may be "".
	Topic    string `json:"topic,omitempty"`
	LogGroup string `json:"logGroup,omitempty"`
	LogRole  string `json:"logRole,omitempty"`
}

// WantsInsight reports whether a trail has Insights of a type on events of a
// category.
func (s *Settings) WantsInsight(typ, category string) bool {
	for _, i := range s.Insights {
		if i.Type == typ && slices.Contains(i.Categories, category) {
			return true
		}
	}
	return false
}

// Tag is a trail's tag.
type Tag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// ResourceTags are tags as condition keys.
func ResourceTags(tags []Tag) map[string][]string {
	if len(tags) == 0 {
		return nil
	}
	m := map[string][]string{}
	for _, t := range tags {
		m["aws:resourcetag/"+strings.ToLower(t.Key)] = []string{t.Value}
	}
	return m
}

// Insight is an insight selector of a trail: a type of insight, and the
// categories of the events that it is about.
type Insight struct {
	Type       string   `json:"type"`
	Categories []string `json:"categories,omitempty"`
}

// State is a trail. A State that Manager gave out does not change.
type State struct {
	Version    int       `json:"version"`
	Account    string    `json:"account"`
	HomeRegion string    `json:"homeRegion"`
	Name       string    `json:"name"`
	Settings   Settings  `json:"settings"`
	Tags       []Tag     `json:"tags,omitempty"`
	TopicName  string    `json:"topicName,omitempty"` // of Settings.Topic, as it was given
	Created    time.Time `json:"created"`
	Started    time.Time `json:"started,omitzero"` // last StartLogging
	Stopped    time.Time `json:"stopped,omitzero"` // last StopLogging
}

// ARN is the trail's ARN.
func (t *State) ARN() string { return ARN(t.Account, t.HomeRegion, t.Name) }

// ARN makes a trail's ARN.
func ARN(account, region, name string) string {
	return aws.NewARN("cloudtrail", region, account, "trail/"+name).String()
}

// change is a trail's settings from one record of the journal on. EventID is
// of the call that made it; the call's record and this row are one batch.
type change struct {
	Version  int      `json:"version"`
	EventID  string   `json:"eventId"`
	Settings Settings `json:"settings"`
}

// Keys. Trails are kv.SpaceState's "cloudtrail", what delivery keeps is
// kv.SpaceDeliver's; numbers are appended big-endian.

func trailKey(account, region, name string) []byte {
	return kv.Key(kv.SpaceState, "cloudtrail", "trail", account, region, name)
}

func trailPrefix() []byte { return kv.Key(kv.SpaceState, "cloudtrail", "trail") }

func publicKeyKey(region, fingerprint string) []byte {
	return kv.Key(kv.SpaceState, "cloudtrail", "public-key", region, fingerprint)
}

func privateKeyKey(region, fingerprint string) []byte {
	return kv.Key(kv.SpaceSecret, "cloudtrail", "digest-key", region, fingerprint)
}

func checkpointKeyKey(account string) []byte {
	return kv.Key(kv.SpaceState, "cloudtrail", "checkpoint-key", account)
}

func checkpointSecretKey(account string) []byte {
	return kv.Key(kv.SpaceSecret, "cloudtrail", "checkpoint-key", account)
}

// A row of kind "checkpoint" is the newest checkpoint of a trail in a region,
// one of kind "published" the size that a place outside has.
func checkpointPrefix() []byte { return kv.Key(kv.SpaceDeliver, "checkpoint") }

func checkpointKey(arn, region string) []byte {
	return kv.Key(kv.SpaceDeliver, "checkpoint", arn, region)
}

func publishedKey(place, arn, region string) []byte {
	return kv.Key(kv.SpaceDeliver, "published", place, arn, region)
}

// A row of kind "leaves" holds the leaves of a planned file, by the index of the
// first; one of kind "tiles" says how far a place has a tree's tiles.
func leavesPrefix(arn, region string) []byte { return kv.Key(kv.SpaceDeliver, "leaves", arn, region) }

func leavesKey(arn, region string, first uint64) []byte {
	return kv.AppendUint64(leavesPrefix(arn, region), first)
}

func tilesKey(place, arn, region string) []byte {
	return kv.Key(kv.SpaceDeliver, "tiles", place, arn, region)
}

func runKey(arn string) []byte { return kv.Key(kv.SpaceDeliver, "run", arn) }

func changePrefix(arn string) []byte { return kv.Key(kv.SpaceDeliver, "change", arn) }

func streamPrefix(arn string) []byte { return kv.Key(kv.SpaceDeliver, "stream", arn) }

func streamKey(arn, region string) []byte { return kv.Key(kv.SpaceDeliver, "stream", arn, region) }

// Rows of kind "file" are log files and digests whose upload is not confirmed,
// in the order in which they are uploaded; rows of kind "listed" are log files
// delivered since the last digest.
func filePrefix(arn, region string) []byte { return kv.Key(kv.SpaceDeliver, "file", arn, region) }

func fileKey(arn, region string, n uint64) []byte {
	return kv.AppendUint64(filePrefix(arn, region), n)
}

func listedPrefix(arn, region string) []byte { return kv.Key(kv.SpaceDeliver, "listed", arn, region) }

func listedKey(arn, region string, n uint64) []byte {
	return kv.AppendUint64(listedPrefix(arn, region), n)
}

// CursorName is the name of a trail's cursor in the journal.
func CursorName(arn string) string { return "trail/" + arn }
