package main

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"spoor/internal/digest"
	"spoor/internal/engine/pebble"
	"spoor/internal/kv"
	"spoor/internal/objects"
	"spoor/internal/tree"
	"spoor/internal/verify"
)

type verifyCmd struct {
	TrailARN      string    `name:"trail-arn" help:"The trail."`
	Bucket        string    `help:"Verify over S3; keys and the trail's state come from CloudTrail. Uses the AWS_* environment." xor:"source"`
	Data          string    `help:"Verify a stopped server's data directory, without a server." type:"path" xor:"source"`
	Dir           string    `help:"Verify a copy of the bucket on disk." type:"path" xor:"source"`
	Prefix        string    `help:"The trail's key prefix, for --dir and --bucket."`
	PublicKeys    []string  `help:"JSON file of aws cloudtrail list-public-keys; one for each region. For --dir." type:"existingfile" placeholder:"FILE"`
	CheckpointKey []string  `help:"Key that signs checkpoints, or a file with it: the server shows it at /_spoor/checkpoint-key. With --dir it serves in place of --public-keys." placeholder:"KEY"`
	Checkpoint    []string  `help:"File with a checkpoint of the trail that was kept outside the bucket; one for each region. With --dir it serves in place of --public-keys." type:"existingfile" placeholder:"FILE"`
	Tiles         string    `help:"Place of checkpoints and tiles outside the bucket, as --checkpoint-to names it: a directory, s3://bucket/prefix or an http(s) URL. The tree of each digest must be the one there. With --dir it serves in place of --public-keys." placeholder:"PLACE"`
	OtherTrail    []string  `help:"ARN of another trail that delivers to the bucket with log file validation off; for --dir and deleted trails." placeholder:"ARN"`
	StartTime     time.Time `help:"Leave out digests that end before (RFC 3339: 2026-01-31T00:00:00Z)." optional:""`
	EndTime       time.Time `help:"Leave out digests that end after (RFC 3339: 2026-01-31T00:00:00Z)." optional:""`
	Record        string    `help:"Print the proof that a record is in the trail, by its eventID." placeholder:"EVENTID" xor:"what"`
	Proof         string    `help:"Check a proof that --record printed. Needs --record-file and --checkpoint-key, and nothing else." type:"existingfile" placeholder:"FILE" xor:"what"`
	RecordFile    string    `help:"File with the record's bytes: written with --record, read with --proof." type:"path" placeholder:"FILE"`
	Parallel      int       `help:"Files that are read at a time; 0 picks." default:"0"`
	Output        string    `help:"text or json." enum:"text,json" default:"text"`
}

func (verifyCmd) Help() string {
	return "Exit code: 0 nothing found, 1 findings, 2 could not check, or not all of it.\n\nExamples:\n" +
		"  spoor verify --trail-arn ARN --bucket my-trail          against a running server, or AWS itself\n" +
		"  spoor verify --trail-arn ARN --data ./data              a stopped server, offline\n" +
		"  spoor verify --trail-arn ARN --dir ./copy --public-keys keys.json --output json\n" +
		"  spoor verify --trail-arn ARN --dir ./copy --checkpoint-key spoor.pub --checkpoint kept/checkpoint\n" +
		"  spoor verify --trail-arn ARN --bucket my-trail --tiles /mnt/kept --checkpoint last-year.checkpoint\n" +
		"  spoor verify --trail-arn ARN --bucket my-trail --tiles https://kept.example.com/log --checkpoint-key spoor.pub\n" +
		"  spoor verify --trail-arn ARN --data ./data --record EVENTID --record-file r.json > r.tlog-proof\n" +
		"  spoor verify --proof r.tlog-proof --record-file r.json --checkpoint-key spoor.pub\n" +
		"  0 * * * *  spoor verify --trail-arn ARN --bucket my-trail --output json > /var/log/trail.json || mail -s 'trail' admin < /var/log/trail.json"
}

// Run verifies and prints the report.
func (v verifyCmd) Run(ctx context.Context, std streams) error {
	code, err := v.run(ctx, std)
	if err != nil {
		return &exitError{exitUnknown, fmt.Errorf("could not check: %w", explain(err, v.Bucket))}
	}
	if code != 0 {
		return &exitError{code: code}
	}
	return nil
}

func (v verifyCmd) run(ctx context.Context, std streams) (code int, err error) {
	if v.Proof != "" {
		return v.checkProof(std)
	}
	if v.TrailARN == "" {
		return 0, errors.New("name the trail: --trail-arn")
	}
	if _, _, _, err := digest.TrailName(v.TrailARN); err != nil {
		return 0, err
	}
	cfg, found, done, err := v.config(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, done()) }()
	cfg.Start, cfg.End, cfg.Parallel = v.StartTime, v.EndTime, v.Parallel
	if v.Record != "" {
		return v.prove(ctx, std, cfg)
	}
	report, err := verify.Run(ctx, cfg)
	if errors.Is(err, verify.ErrNothing) {
		return 0, fmt.Errorf("%w; look at --trail-arn, --prefix and the times: a digest is there once an interval (serve --digest-interval) is over, with log file validation on", err)
	}
	if err != nil {
		return 0, err
	}
	report.Add(found...)
	if v.Output == "json" {
		err = printJSON(std, report)
	} else {
		err = report.WriteText(std.out)
	}
	return report.ExitCode(), err
}

func printJSON(std streams, what any) error {
	e := json.NewEncoder(std.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(what)
}

// config reads what there is to verify. done is to be called at the end.
func (v verifyCmd) config(ctx context.Context) (cfg verify.Config, found []verify.Finding, done func() error, err error) {
	done = func() error { return nil }
	switch {
	case v.Data != "":
		cfg, found, done, err = v.data(ctx)
	case v.Dir != "":
		cfg, err = v.dir()
	case v.Bucket != "":
		cfg, err = v.overS3(ctx)
	default:
		err = errors.New("name what to verify: --bucket, --data or --dir")
	}
	if err != nil {
		return cfg, nil, nil, err
	}
	keys, err := v.checkpointKeys()
	if err == nil && len(keys) > 0 {
		cfg.CheckpointKeys, cfg.AllCheckpointKeys = keys, false
	}
	for _, file := range v.Checkpoint {
		raw, rerr := os.ReadFile(file)
		cfg.Checkpoints, err = append(cfg.Checkpoints, string(raw)), errors.Join(err, rerr)
	}
	if err == nil && v.Tiles != "" {
		cfg.Tiles, err = v.tiles(ctx, cfg.Source)
	}
	if err != nil {
		return cfg, nil, nil, errors.Join(err, done())
	}
	return cfg, found, done, nil
}

// tiles is the place outside the bucket. s3:// is in the object storage that the
// bucket is in.
func (v verifyCmd) tiles(ctx context.Context, bucket verify.Source) (verify.Files, error) {
	u, err := url.Parse(v.Tiles)
	switch {
	case err == nil && (u.Scheme == "http" || u.Scheme == "https"):
		return verify.NewHTTPFiles(v.Tiles, &http.Client{Timeout: time.Minute}), nil
	case err == nil && u.Scheme == "s3" && u.Host != "":
		if v.Dir != "" {
			conf, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithHTTPClient(httpClient()))
			if err != nil {
				return nil, fmt.Errorf("reading the AWS_* environment: %w", err)
			}
			bucket = verify.NewS3(s3.NewFromConfig(conf, func(o *s3.Options) { o.UsePathStyle = os.Getenv("AWS_ENDPOINT_URL") != "" }))
		}
		return verify.NewFiles(bucket, u.Host, strings.Trim(u.Path, "/")), nil
	}
	dir, err := verify.NewDir(strings.TrimPrefix(v.Tiles, "file://"))
	if err != nil {
		return nil, fmt.Errorf("--tiles: %w", err)
	}
	return verify.NewFiles(dir, "", ""), nil
}

// checkpointKeys reads the keys, each of which may be given or be in a file.
func (v verifyCmd) checkpointKeys() ([]ed25519.PublicKey, error) {
	var out []ed25519.PublicKey
	for _, text := range v.CheckpointKey {
		key, err := tree.ParseVerifierKey(text)
		if err != nil {
			raw, rerr := os.ReadFile(text)
			if rerr != nil {
				return nil, fmt.Errorf("--checkpoint-key %s is neither a key nor a file: %w", text, err)
			}
			if key, err = tree.ParseVerifierKey(string(raw)); err != nil {
				return nil, fmt.Errorf("%s: %w", text, err)
			}
		}
		out = append(out, key)
	}
	return out, nil
}

// provenRecord is what --record prints as JSON.
type provenRecord struct {
	Region   string `json:"region"`
	LogFile  string `json:"logFile"`
	Sequence uint64 `json:"sequence,omitempty"`
	Leaf     uint64 `json:"leaf"`
	Record   string `json:"record"` // its bytes, as the log file has them
	Proof    string `json:"proof"`
}

// prove prints a record's proof.
func (v verifyCmd) prove(ctx context.Context, std streams, cfg verify.Config) (int, error) {
	p, err := verify.Prove(ctx, cfg, v.Record)
	if errors.Is(err, verify.ErrNoRecord) {
		return 0, fmt.Errorf("%w %s: it is there when the trail selects the event and its next digest was delivered", verify.ErrNoRecord, v.Record)
	}
	if err != nil {
		return 0, err
	}
	if v.RecordFile != "" {
		if err := os.WriteFile(v.RecordFile, p.Record, 0o600); err != nil {
			return 0, err
		}
	}
	if v.Output == "json" {
		return 0, printJSON(std, provenRecord{p.Region, p.Key, p.Sequence, p.Index, string(p.Record), p.String()})
	}
	_, err = io.WriteString(std.out, p.String())
	return 0, err
}

// checkProof checks a proof as a stranger does, who has it, the record and the
// public key.
func (v verifyCmd) checkProof(std streams) (int, error) {
	keys, err := v.checkpointKeys()
	if err != nil {
		return 0, err
	}
	if len(keys) == 0 || v.RecordFile == "" {
		return 0, errors.New("--proof needs --record-file and --checkpoint-key")
	}
	text, err := os.ReadFile(v.Proof)
	if err != nil {
		return 0, err
	}
	proof, err := tree.ParseProof(string(text))
	if err != nil {
		return 0, err
	}
	record, err := os.ReadFile(v.RecordFile)
	if err != nil {
		return 0, err
	}
	c, err := proof.Check(record, keys)
	result := struct {
		Valid  bool   `json:"valid"`
		Origin string `json:"origin"`
		Leaf   uint64 `json:"leaf"`
		Size   uint64 `json:"treeSize"`
		Reason string `json:"reason,omitempty"`
	}{err == nil, c.Origin, proof.Index, c.Size, ""}
	code := verify.ExitClean
	if err != nil {
		result.Reason, code = err.Error(), verify.ExitFindings
	}
	if v.Output == "json" {
		return code, printJSON(std, result)
	}
	if result.Valid {
		_, err = fmt.Fprintf(std.out, "Valid: the record is number %d of the %d in %s.\n", result.Leaf+1, result.Size, result.Origin)
	} else {
		_, err = fmt.Fprintf(std.out, "INVALID: %s\n", result.Reason)
	}
	return code, err
}

// data verifies a data directory with the server's own state as the anchor.
func (v verifyCmd) data(ctx context.Context) (cfg verify.Config, found []verify.Finding, done func() error, err error) {
	store, err := kv.Open(filepath.Join(v.Data, "store"), kv.Options{Merger: pebble.Merger()})
	if err != nil {
		if errors.Is(err, kv.ErrInUse) {
			err = fmt.Errorf("a server runs on %s: stop it first, or use --bucket", v.Data)
		}
		return cfg, nil, nil, err
	}
	self, err := os.Executable()
	if _, serr := os.Stat(filepath.Join(v.Data, "objects")); err == nil && errors.Is(serr, fs.ErrNotExist) {
		err = fmt.Errorf("%s holds no objects: its server keeps them in another S3 (--s3-endpoint); start it and use --bucket", v.Data)
	}
	if err == nil {
		cfg, found, err = verify.FromStore(store, v.TrailARN)
	}
	if err != nil {
		return cfg, nil, nil, errors.Join(err, store.Close())
	}
	// The gateway knows where it keeps metadata; so it reads for us too.
	files, err := objects.Open(ctx, objects.Config{Dir: filepath.Join(v.Data, "objects"), Command: []string{self, "gateway"}})
	if err != nil {
		return cfg, nil, nil, errors.Join(err, store.Close())
	}
	cfg.Source = verify.NewS3(files.Client())
	return cfg, found, func() error { return errors.Join(files.Close(), store.Close()) }, nil
}

func (v verifyCmd) dir() (cfg verify.Config, err error) {
	if len(v.PublicKeys)+len(v.CheckpointKey)+len(v.Checkpoint)+len(v.Tiles) == 0 {
		return cfg, errors.New("--dir needs --public-keys, --checkpoint-key, --checkpoint or --tiles; make the first with: aws cloudtrail list-public-keys --start-time 2020-01-01 > keys.json")
	}
	cfg = verify.Config{TrailARN: v.TrailARN, Prefix: v.Prefix, OtherTrails: v.OtherTrail, Keys: map[string][]verify.PublicKey{}}
	for _, file := range v.PublicKeys {
		keys, err := readPublicKeys(file)
		if err != nil {
			return cfg, err
		}
		cfg.Keys[verify.EveryRegion] = append(cfg.Keys[verify.EveryRegion], keys...)
	}
	cfg.Source, err = verify.NewDir(v.Dir)
	return cfg, err
}

// readPublicKeys reads the answer of ListPublicKeys.
func readPublicKeys(file string) ([]verify.PublicKey, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var list struct {
		PublicKeyList []struct{ Value, Fingerprint string }
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	var keys []verify.PublicKey
	for _, k := range list.PublicKeyList {
		value, err := base64.StdEncoding.DecodeString(k.Value)
		if err != nil {
			return nil, fmt.Errorf("reading %s: key %s: %w", file, k.Fingerprint, err)
		}
		keys = append(keys, verify.PublicKey{Fingerprint: k.Fingerprint, Value: value})
	}
	return keys, nil
}

func regionOf(arn string) string {
	p := strings.Split(arn, ":")
	if len(p) < 6 {
		return ""
	}
	return p[3]
}

// overS3 verifies over the APIs, with GetTrailStatus as the anchor.
func (v verifyCmd) overS3(ctx context.Context) (cfg verify.Config, err error) {
	conf, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithHTTPClient(httpClient()))
	if err != nil {
		return cfg, fmt.Errorf("reading the AWS_* environment: %w", err)
	}
	if conf.Region == "" {
		conf.Region = regionOf(v.TrailARN)
	}
	home := conf.Copy()
	home.Region = regionOf(v.TrailARN)
	ct := cloudtrail.NewFromConfig(home)
	tr, err := ct.GetTrail(ctx, &cloudtrail.GetTrailInput{Name: &v.TrailARN})
	prefix := v.Prefix
	multi := false
	if err == nil && tr.Trail != nil {
		multi = aws.ToBool(tr.Trail.IsMultiRegionTrail)
		if prefix == "" {
			prefix = aws.ToString(tr.Trail.S3KeyPrefix)
		}
	}
	client := s3.NewFromConfig(conf, func(o *s3.Options) { o.UsePathStyle = os.Getenv("AWS_ENDPOINT_URL") != "" })
	cfg = verify.Config{Source: verify.NewS3(client), TrailARN: v.TrailARN, Bucket: v.Bucket, Prefix: prefix,
		Keys: map[string][]verify.PublicKey{}, Anchors: map[string]verify.Anchor{}}
	// The trail may have been multi-region once, or be gone, and those that
	// share its bucket may be multi-region.
	regions, err := digestRegions(ctx, cfg)
	if err != nil {
		return cfg, err
	}
	for _, r := range append(regions, home.Region) {
		if cfg.Keys[r] != nil {
			continue
		}
		if err := state(ctx, conf, r, multi || r == home.Region, &cfg); err != nil {
			return cfg, err
		}
	}
	if cfg.OtherTrails, err = otherTrails(ctx, ct, v); err != nil {
		return cfg, err
	}
	return cfg, nil
}

// otherTrails are those that deliver to the bucket without digests.
func otherTrails(ctx context.Context, ct *cloudtrail.Client, v verifyCmd) ([]string, error) {
	list, err := ct.DescribeTrails(ctx, &cloudtrail.DescribeTrailsInput{})
	if err != nil {
		return nil, fmt.Errorf("listing the trails: %w", err)
	}
	out := v.OtherTrail
	for _, t := range list.TrailList {
		if aws.ToString(t.S3BucketName) == v.Bucket && !aws.ToBool(t.LogFileValidationEnabled) {
			out = append(out, aws.ToString(t.TrailARN))
		}
	}
	return out, nil
}

func httpClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTransportOptions(func(tr *http.Transport) {
		if pool := trusted(os.Getenv("SPOOR_CA_FILE")); pool != nil {
			tr.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
		}
	})
}

// digestRegions are the regions that the trail's place has digests of.
func digestRegions(ctx context.Context, cfg verify.Config) ([]string, error) {
	p := strings.Split(cfg.TrailARN, ":")
	root := "AWSLogs/" + p[4] + "/CloudTrail-Digest/"
	if cfg.Prefix != "" {
		root = cfg.Prefix + "/" + root
	}
	seen := map[string]bool{}
	var out []string
	err := cfg.Source.List(ctx, cfg.Bucket, root, func(key string) error {
		region, _, _ := strings.Cut(strings.TrimPrefix(key, root), "/")
		if !seen[region] {
			seen[region] = true
			out = append(out, region)
		}
		return nil
	})
	return out, err
}

// state adds a region's public keys to cfg, and the newest delivery where the
// trail is. Asked elsewhere, a trail of one region has that region's status.
func state(ctx context.Context, conf aws.Config, region string, there bool, cfg *verify.Config) error {
	c := conf.Copy()
	c.Region = region
	ct := cloudtrail.NewFromConfig(c)
	start, end := time.Unix(0, 0), time.Now().Add(24*time.Hour)
	keys, err := ct.ListPublicKeys(ctx, &cloudtrail.ListPublicKeysInput{StartTime: &start, EndTime: &end})
	if err != nil {
		return fmt.Errorf("listing the public keys of %s: %w", region, err)
	}
	for _, k := range keys.PublicKeyList {
		cfg.Keys[region] = append(cfg.Keys[region], verify.PublicKey{Fingerprint: aws.ToString(k.Fingerprint), Value: k.Value,
			Start: aws.ToTime(k.ValidityStartTime), End: aws.ToTime(k.ValidityEndTime)})
	}
	if !there {
		return nil
	}
	st, err := ct.GetTrailStatus(ctx, &cloudtrail.GetTrailStatusInput{Name: &cfg.TrailARN})
	if err != nil {
		return nil // a deleted trail: its files are verified without an anchor
	}
	if st.LatestDigestDeliveryTime != nil {
		cfg.Anchors[region] = verify.Anchor{Time: *st.LatestDigestDeliveryTime}
	}
	return nil
}

// trusted adds the server's own CA to the system's, when it is named.
func trusted(file string) *x509.CertPool {
	pem, err := os.ReadFile(file)
	if file == "" || err != nil {
		return nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pool.AppendCertsFromPEM(pem)
	return pool
}
