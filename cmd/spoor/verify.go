package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"spoor/internal/engine/pebble"
	"spoor/internal/kv"
	"spoor/internal/objects"
	"spoor/internal/verify"
)

type verifyCmd struct {
	TrailARN   string    `name:"trail-arn" required:"" help:"The trail."`
	Bucket     string    `help:"Verify over S3; keys and the trail's state come from CloudTrail. Uses the AWS_* environment." xor:"source"`
	Data       string    `help:"Verify a stopped server's data directory, without a server." type:"path" xor:"source"`
	Dir        string    `help:"Verify a copy of the bucket on disk." type:"path" xor:"source"`
	Prefix     string    `help:"The trail's key prefix, for --dir and --bucket."`
	PublicKeys string    `help:"JSON file of aws cloudtrail list-public-keys; for --dir." type:"existingfile" placeholder:"FILE"`
	OtherTrail []string  `help:"ARN of another trail that delivers to the bucket with log file validation off; for --dir and deleted trails." placeholder:"ARN"`
	StartTime  time.Time `help:"Leave out digests that end before (RFC 3339)." optional:""`
	EndTime    time.Time `help:"Leave out digests that end after (RFC 3339)." optional:""`
	Output     string    `help:"text or json." enum:"text,json" default:"text"`
}

func (verifyCmd) Help() string {
	return "Exit code: 0 nothing found, 1 findings, 2 could not check.\n\nExamples:\n" +
		"  spoor verify --trail-arn ARN --bucket my-trail          against a running server, or AWS itself\n" +
		"  spoor verify --trail-arn ARN --data ./data              a stopped server, offline\n" +
		"  spoor verify --trail-arn ARN --dir ./copy --public-keys keys.json --output json"
}

// Run verifies and prints the report.
func (v verifyCmd) Run(ctx context.Context, std streams) error {
	report, err := v.verify(ctx)
	if err != nil {
		return &exitError{exitUnknown, fmt.Errorf("could not check: %w", err)}
	}
	if v.Output == "json" {
		e := json.NewEncoder(std.out)
		e.SetIndent("", "  ")
		err = e.Encode(report)
	} else {
		err = report.WriteText(std.out)
	}
	if err != nil {
		return &exitError{exitUnknown, err}
	}
	if code := report.ExitCode(); code != 0 {
		return &exitError{code: code}
	}
	return nil
}

func (v verifyCmd) verify(ctx context.Context) (*verify.Report, error) {
	switch {
	case v.Data != "":
		return v.data(ctx)
	case v.Dir != "":
		return v.dir(ctx)
	case v.Bucket != "":
		return v.overS3(ctx)
	}
	return nil, errors.New("name what to verify: --bucket, --data or --dir")
}

// data verifies a data directory with the server's own state as the anchor.
func (v verifyCmd) data(ctx context.Context) (report *verify.Report, err error) {
	store, err := kv.Open(filepath.Join(v.Data, "store"), kv.Options{Merger: pebble.Merger()})
	if err != nil {
		return nil, fmt.Errorf("%w; stop the server first, or use --bucket", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	cfg, found, err := verify.FromStore(store, v.TrailARN)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	// The gateway knows where it keeps metadata; so it reads for us too.
	files, err := objects.Open(ctx, objects.Config{Dir: filepath.Join(v.Data, "objects"), Command: []string{self, "gateway"}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, files.Close()) }()
	cfg.Source, cfg.Start, cfg.End = verify.NewS3(files.Client()), v.StartTime, v.EndTime
	if report, err = verify.Run(ctx, cfg); err != nil {
		return nil, err
	}
	report.Add(found...)
	return report, nil
}

func (v verifyCmd) dir(ctx context.Context) (*verify.Report, error) {
	if v.PublicKeys == "" {
		return nil, errors.New("--dir needs --public-keys; make the file with: aws cloudtrail list-public-keys --start-time 2020-01-01 > keys.json")
	}
	raw, err := os.ReadFile(v.PublicKeys)
	if err != nil {
		return nil, err
	}
	var list struct {
		PublicKeyList []struct {
			Value, Fingerprint                 string
			ValidityStartTime, ValidityEndTime any
		}
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("reading %s: %w", v.PublicKeys, err)
	}
	var keys []verify.PublicKey
	for _, k := range list.PublicKeyList {
		value, err := base64.StdEncoding.DecodeString(k.Value)
		if err != nil {
			return nil, fmt.Errorf("reading %s: key %s: %w", v.PublicKeys, k.Fingerprint, err)
		}
		keys = append(keys, verify.PublicKey{Fingerprint: k.Fingerprint, Value: value})
	}
	src, err := verify.NewDir(v.Dir)
	if err != nil {
		return nil, err
	}
	region := regionOf(v.TrailARN)
	return verify.Run(ctx, verify.Config{Source: src, TrailARN: v.TrailARN, Prefix: v.Prefix, OtherTrails: v.OtherTrail,
		Keys: map[string][]verify.PublicKey{region: keys}, Start: v.StartTime, End: v.EndTime})
}

func regionOf(arn string) string {
	p := strings.Split(arn, ":")
	if len(p) < 6 {
		return ""
	}
	return p[3]
}

// overS3 verifies over the APIs, with GetTrailStatus as the anchor.
func (v verifyCmd) overS3(ctx context.Context) (*verify.Report, error) {
	conf, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithHTTPClient(httpClient()))
	if err != nil {
		return nil, fmt.Errorf("reading the AWS_* environment: %w", err)
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
	cfg := verify.Config{Source: verify.NewS3(client), TrailARN: v.TrailARN, Bucket: v.Bucket, Prefix: prefix, Start: v.StartTime, End: v.EndTime,
		Keys: map[string][]verify.PublicKey{}, Anchors: map[string]verify.Anchor{}}
	regions := []string{home.Region}
	if multi {
		if regions, err = digestRegions(ctx, cfg); err != nil {
			return nil, err
		}
	}
	for _, r := range regions {
		if err := state(ctx, conf, r, &cfg); err != nil {
			return nil, err
		}
	}
	if cfg.OtherTrails, err = otherTrails(ctx, ct, v); err != nil {
		return nil, err
	}
	return verify.Run(ctx, cfg)
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

// digestRegions are the regions that a multi-region trail has digests of.
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

// state adds a region's public keys and newest delivery to cfg.
func state(ctx context.Context, conf aws.Config, region string, cfg *verify.Config) error {
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
