package digest

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var place = Place{Prefix: "logs", Account: "123456789012", Region: "eu-west-1"}

func ptr(s string) *string { return &s }

func sample() *Digest {
	end := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	d := &Digest{AccountID: "123456789012", StartTime: "2026-11-24T09:00:00Z", EndTime: "2026-11-24T10:00:00Z", Bucket: "bucket",
		Object: place.DigestKey("audit", "us-east-1", end), PublicKeyFingerprint: strings.Repeat("ab", 16), SignatureAlgorithm: SignatureAlgorithm,
		LogFiles: []LogFile{
			{Bucket: "bucket", Object: place.LogKey(end.Add(-30*time.Minute), "abcdefgh01234567"), Hash: Hash([]byte("a")), HashAlgorithm: HashAlgorithm,
				NewestEventTime: ptr("2026-11-24T09:29:00Z"), OldestEventTime: ptr("2026-11-24T09:28:00Z"), Records: &Range{First: 11, Last: 20, Count: 7}},
			{Bucket: "bucket", Object: place.LogKey(end.Add(-10*time.Minute), "ABCDEFGH01234567"), Hash: Hash([]byte("b<&>")), HashAlgorithm: HashAlgorithm,
				NewestEventTime: ptr("2026-11-24T09:49:00Z"), OldestEventTime: ptr("2026-11-24T09:30:00Z"), Records: &Range{First: 22, Last: 22, Count: 1, Skipped: 21}},
		},
		Extension: &Extension{Version: ExtensionVersion, TrailARN: "arn:aws:cloudtrail:us-east-1:123456789012:trail/audit", Number: 3, First: 11, Last: 22,
			Regions: []string{"eu-west-1", "us-east-1"}},
	}
	d.SetPrevious(&Link{Bucket: "bucket", Object: "logs/previous", Hash: Hash(nil), Signature: "00ff"})
	return d
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Error(d)
	}
}

// TestForm pins the bytes and the string to sign, in the middle of a chain and
// at its start.
func TestForm(t *testing.T) {
	t.Parallel()
	d := sample()
	plain, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "middle.json", plain)
	golden(t, "middle.tosign", []byte(d.StringToSign(Hash(plain))))
	back, err := Parse(plain)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d, back); diff != "" {
		t.Error(diff)
	}
	empty := &Digest{AccountID: "123456789012", StartTime: "2026-11-24T09:00:00Z", EndTime: "2026-11-24T10:00:00Z", Bucket: "bucket", Object: "o",
		PublicKeyFingerprint: "f", SignatureAlgorithm: SignatureAlgorithm}
	plain, err = empty.Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "starting.json", plain)
	golden(t, "starting.tosign", []byte(empty.StringToSign(Hash(plain))))
}

func TestSignature(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, KeyBits)
	if err != nil {
		t.Fatal(err)
	}
	d := sample()
	plain, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	sig, err := d.Sign(key, plain)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := ParsePublicKey([]byte(base64.StdEncoding.EncodeToString(EncodePublicKey(&key.PublicKey))))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Verify(pub, Hash(plain), sig); err != nil {
		t.Error(err)
	}
	if fp := Fingerprint(EncodePublicKey(pub)); len(fp) != 32 {
		t.Errorf("fingerprint %q", fp)
	}
	bad := map[string]func(d *Digest, hash, sig *string){
		"hash":               func(_ *Digest, hash, _ *string) { *hash = Hash([]byte("other")) },
		"end time":           func(d *Digest, _, _ *string) { d.EndTime = "2026-11-24T10:00:01Z" },
		"place":              func(d *Digest, _, _ *string) { d.Object += "x" },
		"previous signature": func(d *Digest, _, _ *string) { d.PreviousSignature = nil },
		"signature":          func(_ *Digest, _, sig *string) { *sig = strings.Repeat("00", 256) },
		"not hexadecimal":    func(_ *Digest, _, sig *string) { *sig = "zz" },
	}
	for name, change := range bad {
		c, hash, s := *d, Hash(plain), sig
		change(&c, &hash, &s)
		if c.Verify(pub, hash, s) == nil {
			t.Errorf("%s: a changed digest verifies", name)
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 24, 9, 30, 41, 0, time.UTC)
	const wantLog = "logs/AWSLogs/123456789012/CloudTrail/eu-west-1/2026/11/24/123456789012_CloudTrail_eu-west-1_20261124T0930Z_abcdefgh01234567.json.gz"
	if got := place.LogKey(at, "abcdefgh01234567"); got != wantLog {
		t.Errorf("log file %s", got)
	}
	const wantDigest = "logs/AWSLogs/123456789012/CloudTrail-Digest/eu-west-1/2026/11/24/123456789012_CloudTrail-Digest_eu-west-1_a_b_us-east-1_20261124T093041Z.json.gz"
	if got := place.DigestKey("a_b", "us-east-1", at); got != wantDigest {
		t.Errorf("digest %s", got)
	}
	if end, ok := place.ParseDigestKey(wantDigest, "a_b", "us-east-1"); !ok || !end.Equal(at) {
		t.Errorf("ParseDigestKey gives %v, %v", end, ok)
	}
	insight := place.InsightKey(at, "abcdefgh01234567")
	if want := strings.ReplaceAll(wantLog, "CloudTrail", "CloudTrail-Insight"); insight != want {
		t.Errorf("InsightKey gives %s, want %s", insight, want)
	}
	aggregated := place.AggregatedKey(at, "abcdefgh01234567")
	if want := strings.ReplaceAll(wantLog, "CloudTrail", "CloudTrail-Aggregated"); aggregated != want || !strings.HasPrefix(aggregated, place.AggregatedPrefix()) {
		t.Errorf("AggregatedKey gives %s, want %s", aggregated, want)
	}
	if m, ok := place.ParseLogKey(aggregated); !ok || !m.Equal(at.Truncate(time.Minute)) {
		t.Errorf("ParseLogKey of a file of aggregated events gives %v, %v", m, ok)
	}
	if m, ok := place.ParseLogKey(insight); !ok || !m.Equal(at.Truncate(time.Minute)) {
		t.Errorf("ParseLogKey of a file of Insights events gives %v, %v", m, ok)
	}
	if m, ok := place.ParseLogKey(wantLog); !ok || !m.Equal(at.Truncate(time.Minute)) {
		t.Errorf("ParseLogKey gives %v, %v", m, ok)
	}
	for _, k := range []string{"", "x", wantLog + "x", strings.Replace(wantDigest, "11/24", "11/25", 1), strings.Replace(wantDigest, "logs/", "", 1)} {
		if _, ok := place.ParseDigestKey(k, "a_b", "us-east-1"); ok {
			t.Errorf("%q passes for a digest", k)
		}
	}
	if _, ok := place.ParseDigestKey(wantDigest, "b", "us-east-1"); ok {
		t.Error("another trail's digest passes")
	}
	if r, a, n, err := TrailName("arn:aws:cloudtrail:us-east-1:123456789012:trail/audit"); err != nil || r != "us-east-1" || a != "123456789012" || n != "audit" {
		t.Errorf("TrailName gives %s %s %s %v", r, a, n, err)
	}
	if _, _, _, err := TrailName("arn:aws:s3:::bucket"); err == nil {
		t.Error("a bucket passes for a trail")
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	good, err := sample().Encode()
	if err != nil {
		t.Fatal(err)
	}
	change := func(old, new string) string {
		s := strings.Replace(string(good), old, new, 1)
		if s == string(good) {
			t.Fatalf("%q is not in the sample", old)
		}
		return s
	}
	for name, in := range map[string]string{
		"empty":           "",
		"not an object":   "[]",
		"truncated":       string(good[:len(good)-1]),
		"trailing":        string(good) + "{}",
		"no logFiles":     change(`"logFiles"`, `"other"`),
		"no bucket":       change(`"digestS3Bucket"`, `"other"`),
		"bad end":         change(`"digestEndTime":"2026`, `"digestEndTime":"x`),
		"bad start":       change(`"digestStartTime":"2026`, `"digestStartTime":"x`),
		"half a link":     change(`"previousDigestSignature":"00ff"`, `"previousDigestSignature":null`),
		"link, no hash":   change(`"previousDigestHashValue"`, `"other"`),
		"link, no bucket": change(`"previousDigestS3Bucket"`, `"other"`),
	} {
		if _, err := Parse([]byte(in)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	good, err := sample().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"logFiles":[{}],"spoor":{"priorDigest":{}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Parse(b)
		if err != nil {
			return
		}
		_ = d.StringToSign(Hash(b))
		_ = d.Previous()
		again, err := d.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(again); err != nil {
			t.Fatalf("what Parse read does not parse again: %v", err)
		}
	})
}

func FuzzKeys(f *testing.F) {
	f.Add(place.DigestKey("audit", "us-east-1", time.Unix(1700000000, 0)))
	f.Add(place.LogKey(time.Unix(1700000000, 0), "abcdefgh01234567"))
	f.Fuzz(func(t *testing.T, key string) {
		if end, ok := place.ParseDigestKey(key, "audit", "us-east-1"); ok && place.DigestKey("audit", "us-east-1", end) != key {
			t.Fatalf("%q does not print back", key)
		}
		_, _ = place.ParseLogKey(key)
	})
}
