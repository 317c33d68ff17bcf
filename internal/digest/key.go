package digest

import (
	"fmt"
	"strings"
	"time"
)

// Object names (CloudTrail user guide, "Finding your CloudTrail log files" and
// "Finding your CloudTrail digest files").
const (
	stampMinute = "20060102T1504Z"
	stampSecond = "20060102T150405Z"
	suffix      = ".json.gz"
	logTree     = "CloudTrail"
	insightTree = "CloudTrail-Insight"
	digestTree  = "CloudTrail-Digest"
	// aggregatedTree is not documented; it follows the others.
	aggregatedTree = "CloudTrail-Aggregated"
)

// Place is where a trail's files of one region lie.
type Place struct {
	Prefix  string // the trail's S3KeyPrefix, or empty
	Account string
	Region  string // of the records, not of the trail
}

func (p Place) tree(name string) string {
	root := "AWSLogs/" + p.Account + "/" + name + "/" + p.Region + "/"
	if p.Prefix != "" {
		return p.Prefix + "/" + root
	}
	return root
}

// LogPrefix is the common start of the region's log file names.
func (p Place) LogPrefix() string { return p.tree(logTree) }

// InsightPrefix is the common start of the names of the region's files of
// Insights events.
func (p Place) InsightPrefix() string { return p.tree(insightTree) }

// DigestPrefix is the common start of the region's digest names, of all trails
// that write to the place.
func (p Place) DigestPrefix() string { return p.tree(digestTree) }

// LogKey names a log file closed at t; unique is 16 characters of [A-Za-z0-9].
func (p Place) LogKey(t time.Time, unique string) string { return p.fileKey(logTree, t, unique) }

// InsightKey names a file of Insights events, as LogKey does a log file.
func (p Place) InsightKey(t time.Time, unique string) string {
	return p.fileKey(insightTree, t, unique)
}

// AggregatedPrefix is the common start of the names of the region's files of
// aggregated events.
func (p Place) AggregatedPrefix() string { return p.tree(aggregatedTree) }

// AggregatedKey names a file of aggregated events, as LogKey does a log file.
func (p Place) AggregatedKey(t time.Time, unique string) string {
	return p.fileKey(aggregatedTree, t, unique)
}

func (p Place) fileKey(kind string, t time.Time, unique string) string {
	t = t.UTC()
	return p.tree(kind) + t.Format("2006/01/02/") + p.Account + "_" + kind + "_" + p.Region + "_" + t.Format(stampMinute) + "_" + unique + suffix
}

// DigestKey names the digest that ends at end.
func (p Place) DigestKey(trail, homeRegion string, end time.Time) string {
	end = end.UTC()
	return p.DigestPrefix() + end.Format("2006/01/02/") + p.Account + "_CloudTrail-Digest_" + p.Region + "_" + trail + "_" + homeRegion + "_" +
		end.Format(stampSecond) + suffix
}

// ParseDigestKey gives the end time in the name of a digest of the given trail.
// ok is false for any other object.
func (p Place) ParseDigestKey(key, trail, homeRegion string) (end time.Time, ok bool) {
	name := key[strings.LastIndexByte(key, '/')+1:]
	rest, ok := strings.CutPrefix(name, p.Account+"_CloudTrail-Digest_"+p.Region+"_"+trail+"_"+homeRegion+"_")
	if !ok || len(rest) != len(stampSecond)+len(suffix) || !strings.HasSuffix(rest, suffix) {
		return time.Time{}, false
	}
	end, err := time.Parse(stampSecond, rest[:len(stampSecond)])
	return end, err == nil && p.DigestKey(trail, homeRegion, end) == key
}

// ParseLogKey gives the minute in the name of a log file or a file of Insights
// or aggregated events. ok is false for any other object.
func (p Place) ParseLogKey(key string) (minute time.Time, ok bool) {
	if minute, ok = p.parseFileKey(logTree, key); !ok {
		minute, ok = p.parseFileKey(insightTree, key)
	}
	if !ok {
		minute, ok = p.parseFileKey(aggregatedTree, key)
	}
	return minute, ok
}

func (p Place) parseFileKey(kind, key string) (minute time.Time, ok bool) {
	name := key[strings.LastIndexByte(key, '/')+1:]
	rest, ok := strings.CutPrefix(name, p.Account+"_"+kind+"_"+p.Region+"_")
	if !ok || len(rest) < len(stampMinute)+1+len(suffix) || !strings.HasSuffix(rest, suffix) {
		return time.Time{}, false
	}
	minute, err := time.Parse(stampMinute, rest[:len(stampMinute)])
	if err != nil || rest[len(stampMinute)] != '_' {
		return time.Time{}, false
	}
	unique := strings.TrimSuffix(rest[len(stampMinute)+1:], suffix)
	return minute, p.fileKey(kind, minute, unique) == key
}

// TrailName splits a trail's ARN into home region, account and name.
func TrailName(arn string) (region, account, name string, err error) {
	p := strings.SplitN(arn, ":", 6)
	if len(p) != 6 || p[0] != "arn" || p[2] != "cloudtrail" || !strings.HasPrefix(p[5], "trail/") || len(p[5]) == len("trail/") {
		return "", "", "", fmt.Errorf("%q is not the ARN of a trail", arn)
	}
	return p[3], p[4], p[5][len("trail/"):], nil
}
