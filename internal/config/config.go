// Package config is the server's configuration: the struct is the manual. It
// stands before everything else; the composition root gets a validated Config
// and nothing reads the environment after that.
package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"time"

	"spoor/internal/oidc"
)

// Config is every setting of `spoor serve`. Each is a flag, an environment
// variable SPOOR_<NAME> and a key of the file given with --config.
type Config struct {
	Data string `help:"Data directory. Created on first start." default:"./data" env:"SPOOR_DATA" type:"path"`

	HTTP     string `name:"http" help:"Address of the AWS HTTP APIs; http and https on one port." default:"127.0.0.1:4566" env:"SPOOR_HTTP"`
	CQL      string `name:"cql" help:"Address of CQL over TLS." default:"127.0.0.1:9142" env:"SPOOR_CQL"`
	CQLPlain string `name:"cql-plain" help:"Address of CQL without TLS; off when empty. Loopback only, unless --allow-plain-cql." env:"SPOOR_CQL_PLAIN"`
	// AllowPlainCQL lets --cql-plain listen beyond loopback. Passwords and rows
	// then cross the network in the clear.
	AllowPlainCQL bool `name:"allow-plain-cql" help:"Let --cql-plain listen beyond loopback: passwords then cross the network in the clear." env:"SPOOR_ALLOW_PLAIN_CQL"`

	Account string `help:"Account id, 12 digits." default:"123456789012" env:"SPOOR_ACCOUNT"`
	// Accounts are made at the start where they do not exist.
	Accounts []string `help:"Further account ids, separated by commas. spoor account add makes one while the server runs." env:"SPOOR_ACCOUNTS" placeholder:"ID"`
	Region   string   `help:"Region of calls that name none." default:"us-east-1" env:"SPOOR_REGION"`

	DeliveryInterval time.Duration `help:"How long a log file collects records before it is delivered (1s to 15m)." default:"15s" env:"SPOOR_DELIVERY_INTERVAL"`
	DigestInterval   time.Duration `help:"Time between digest files (10s to 24h). AWS's is one hour." default:"1h" env:"SPOOR_DIGEST_INTERVAL"`
	TrailRetention   []string      `help:"Object Lock that trails' files are given: [TRAIL-ARN=]GOVERNANCE:DAYS or [TRAIL-ARN=]COMPLIANCE:DAYS. The trail's bucket must have Object Lock, and its policy allow s3:PutObjectRetention. Without it the bucket's default retention holds." placeholder:"MODE:DAYS" env:"SPOOR_TRAIL_RETENTION"`
	CheckpointTo     []string      `help:"Where the signed checkpoints of trails are published beside their bucket: file:///directory, s3://bucket/prefix, put+http(s)://host/prefix of a server that takes PUT, or an http(s) URL that takes a POST. May be given more than once." placeholder:"URL" env:"SPOOR_CHECKPOINT_TO"`
	CheckpointTiles  bool          `help:"Publish the hashes of the trails' Merkle trees (tlog-tiles) before the checkpoints, where files can be: 32 bytes a record." default:"true" negatable:"" env:"SPOOR_CHECKPOINT_TILES"`
	// Notifications are described by notify.Settings.
	Notifications    string        `help:"JSON file that declares the SNS topics and CloudWatch log groups that trails may send to, and rules whose events go to webhooks, SQS, Kafka and NATS." placeholder:"FILE" env:"SPOOR_NOTIFICATIONS" type:"path"`
	DataEvents       string        `help:"Record data events when a trail selects them, or always." enum:"selected,always" default:"selected" env:"SPOOR_DATA_EVENTS"`
	HistoryRetention time.Duration `help:"How long event history keeps management events (24h or more)." default:"2160h" env:"SPOOR_HISTORY_RETENTION"`

	LakeFileInterval time.Duration `help:"How often events of event data stores move into Parquet files (1s to 24h)." default:"1m" env:"SPOOR_LAKE_FILE_INTERVAL"`
	LakeFileEvents   int           `help:"How many events of a day are worth a Parquet file before the day is over." default:"20000" env:"SPOOR_LAKE_FILE_EVENTS"`

	// S3Endpoint makes another S3 hold the objects instead of the embedded one.
	S3Endpoint        string `name:"s3-endpoint" help:"Keep objects in the S3 at this URL (https://host:port, path-style addressing) instead of the embedded one." env:"SPOOR_S3_ENDPOINT" placeholder:"URL"`
	S3Region          string `name:"s3-region" help:"Region of the S3 at --s3-endpoint." default:"us-east-1" env:"SPOOR_S3_REGION"`
	S3Encryption      string `name:"s3-encryption" help:"Server-side encryption that deliveries ask of the S3 at --s3-endpoint: AES256, as CloudTrail does, or none for a storage that refuses the header." enum:"AES256,none" default:"AES256" env:"SPOOR_S3_ENCRYPTION"`
	S3AccessKeyID     string `name:"s3-access-key-id" help:"Access key for --s3-endpoint." env:"SPOOR_S3_ACCESS_KEY_ID" placeholder:"KEY"`
	S3SecretAccessKey string `name:"s3-secret-access-key" help:"Its secret. Give it by the environment or the configuration file: an argument shows in the list of processes." env:"SPOOR_S3_SECRET_ACCESS_KEY" placeholder:"SECRET"`

	InsightsMinHistory   time.Duration `name:"insights-min-history" help:"How long calls are watched before the first Insights event (10m to 672h). AWS's takes up to 36 hours." default:"36h" env:"SPOOR_INSIGHTS_MIN_HISTORY"`
	InsightsBaseline     time.Duration `name:"insights-baseline" help:"How far back the baseline of Insights reaches, in whole days (24h to 2160h)." default:"672h" env:"SPOOR_INSIGHTS_BASELINE"`
	InsightsMinCalls     int           `name:"insights-min-calls" help:"Fewest calls or errors in a minute that can be an insight." default:"5" env:"SPOOR_INSIGHTS_MIN_CALLS"`
	InsightsSignificance float64       `name:"insights-significance" help:"Probability, under the baseline, below which a count is an insight (1e-12 to 0.01)." default:"1e-6" env:"SPOOR_INSIGHTS_SIGNIFICANCE"`
	InsightsMaxSeries    int           `name:"insights-max-series" help:"Operations that Insights watch at most, counted by region and error code." default:"10000" env:"SPOOR_INSIGHTS_MAX_SERIES"`

	MaskThreshold int    `help:"Longest value, in characters, that a CQL record hides whole; longer ones show their first and last character." default:"2" env:"SPOOR_MASK_THRESHOLD"`
	ClusterName   string `help:"system.local.cluster_name of the CQL endpoint." default:"Amazon Keyspaces" env:"SPOOR_CLUSTER_NAME"`
	Authenticator string `help:"Authenticator class that CQL clients are told." default:"org.apache.cassandra.auth.PasswordAuthenticator" env:"SPOOR_AUTHENTICATOR"`

	MasterKey string `help:"Key file that seals secrets at rest; keep it outside the data directory. Default: a key inside the data directory." env:"SPOOR_MASTER_KEY" type:"path"`

	// OIDCIssuer are the issuers whose tokens sts:AssumeRoleWithWebIdentity takes,
	// each one text: see oidc.ParseIssuer.
	OIDCIssuer []string `name:"oidc-issuer" help:"OpenID Connect issuer for web identity federation: 'https://issuer audience=NAME [audience=NAME] [jwks=FILE] [ca=FILE]'. May be repeated." env:"SPOOR_OIDC_ISSUER" sep:";" placeholder:"ISSUER"`

	MaxAuthFailures int `help:"Failed signatures and logins that one address may make in a minute before it is slowed down; 0 is no limit." default:"300" env:"SPOOR_MAX_AUTH_FAILURES"`

	CacheMB       int `name:"cache-mb" help:"Block cache and write buffers of the embedded store, in MiB." default:"64" env:"SPOOR_CACHE_MB"`
	QueryMemoryMB int `name:"query-memory-mb" help:"Memory that one SQL engine may use, in MiB." default:"2048" env:"SPOOR_QUERY_MEMORY_MB"`
	QueryWorkers  int `help:"SQL queries that run at a time; further ones queue." default:"4" env:"SPOOR_QUERY_WORKERS"`
	// Columnar copies are a cache: they can be switched off and on at any time.
	Columnar   string `help:"Keep columnar copies of the trail's log files that Athena queries read, so that the next query is fast." enum:"on,off" default:"on" env:"SPOOR_COLUMNAR"`
	ColumnarMB int    `name:"columnar-mb" help:"Disk that columnar copies may take, in MiB; the least recently used go first." default:"8192" env:"SPOOR_COLUMNAR_MB"`
	MaxFrameMB int    `name:"max-frame-mb" help:"Largest CQL frame that is read, in MiB (1 to 256)." default:"16" env:"SPOOR_MAX_FRAME_MB"`
	// ClientTimeout keeps clients that send slowly, or nothing, from holding
	// connections.
	ClientTimeout time.Duration `help:"How long a client may take for a request's headers or a login to CQL, and for each pause inside a body (1s to 10m)." default:"30s" env:"SPOOR_CLIENT_TIMEOUT"`
	LogLevel      string        `help:"Log level." enum:"debug,info,warn,error" default:"info" env:"SPOOR_LOG_LEVEL"`
	Debug         string        `help:"Address of a private listener with profiles under /debug/pprof/; off when empty, loopback only." env:"SPOOR_DEBUG"`
}

var accountID = regexp.MustCompile(`^\d{12}$`)
var regionName = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-\d$`)

// Default is the configuration without any setting.
func Default() Config {
	return Config{
		Data: "./data", HTTP: "127.0.0.1:4566", CQL: "127.0.0.1:9142",
		Account: "123456789012", Region: "us-east-1",
		DeliveryInterval: 15 * time.Second, DigestInterval: time.Hour, DataEvents: "selected",
		LakeFileInterval: time.Minute, LakeFileEvents: 20_000, S3Region: "us-east-1", S3Encryption: "AES256",
		InsightsMinHistory: 36 * time.Hour, InsightsBaseline: 28 * 24 * time.Hour, InsightsMinCalls: 5, InsightsSignificance: 1e-6, InsightsMaxSeries: 10_000,
		HistoryRetention: 90 * 24 * time.Hour, MaskThreshold: 2, ClusterName: "Amazon Keyspaces",
		Authenticator:   "org.apache.cassandra.auth.PasswordAuthenticator",
		MaxAuthFailures: 300,
		CacheMB:         64, QueryMemoryMB: 2048, QueryWorkers: 4, Columnar: "on", ColumnarMB: 8192, MaxFrameMB: 16, ClientTimeout: 30 * time.Second, LogLevel: "info",
	}
}

// Validate checks every setting and names each that is wrong.
func (c *Config) Validate() error {
	var errs []error
	bad := func(flag, format string, args ...any) {
		errs = append(errs, fmt.Errorf("--%s: %s", flag, fmt.Sprintf(format, args...)))
	}
	if c.Data == "" {
		bad("data", "name a directory")
	}
	for flag, addr := range map[string]string{"http": c.HTTP, "cql": c.CQL, "cql-plain": c.CQLPlain} {
		if addr == "" && flag == "cql-plain" {
			continue
		}
		if _, _, err := net.SplitHostPort(addr); err != nil {
			bad(flag, "%q is not host:port", addr)
		}
	}
	if c.CQLPlain != "" && !c.AllowPlainCQL && !loopback(c.CQLPlain) {
		bad("cql-plain", "%s is not a loopback address; use --cql, or add --allow-plain-cql", c.CQLPlain)
	}
	if c.Debug != "" && !loopback(c.Debug) {
		bad("debug", "%s is not a loopback address: profiles show what is in memory", c.Debug)
	}
	if !accountID.MatchString(c.Account) {
		bad("account", "%q is not 12 digits", c.Account)
	}
	for _, id := range c.Accounts {
		if !accountID.MatchString(id) {
			bad("accounts", "%q is not 12 digits", id)
		}
	}
	if !regionName.MatchString(c.Region) {
		bad("region", "%q is not a region name such as us-east-1", c.Region)
	}
	between := func(flag string, d, lo, hi time.Duration) {
		if d < lo || d > hi {
			bad(flag, "%s is outside %s to %s", d, lo, hi)
		}
	}
	between("delivery-interval", c.DeliveryInterval, time.Second, 15*time.Minute)
	between("digest-interval", c.DigestInterval, 10*time.Second, 24*time.Hour)
	between("client-timeout", c.ClientTimeout, time.Second, 10*time.Minute)
	between("history-retention", c.HistoryRetention, 24*time.Hour, 3653*24*time.Hour)
	between("lake-file-interval", c.LakeFileInterval, time.Second, 24*time.Hour)
	c.validateS3(bad)
	between("insights-min-history", c.InsightsMinHistory, 10*time.Minute, 28*24*time.Hour)
	between("insights-baseline", c.InsightsBaseline, 24*time.Hour, 90*24*time.Hour)
	if c.InsightsBaseline%(24*time.Hour) != 0 || c.InsightsBaseline < c.InsightsMinHistory {
		bad("insights-baseline", "%s is not whole days, or less than --insights-min-history", c.InsightsBaseline)
	}
	if !(c.InsightsSignificance >= 1e-12 && c.InsightsSignificance <= 0.01) {
		bad("insights-significance", "%g is outside 1e-12 to 0.01", c.InsightsSignificance)
	}
	if c.DataEvents != "selected" && c.DataEvents != "always" {
		bad("data-events", "%q is neither selected nor always", c.DataEvents)
	}
	size := func(flag string, n, lo, hi int) {
		if n < lo || n > hi {
			bad(flag, "%d is outside %d to %d", n, lo, hi)
		}
	}
	size("lake-file-events", c.LakeFileEvents, 1, 10_000_000)
	size("mask-threshold", c.MaskThreshold, 1, 1024)
	for _, text := range c.OIDCIssuer {
		if _, err := oidc.ParseIssuer(text); err != nil {
			bad("oidc-issuer", "%v", err)
		}
	}
	size("insights-min-calls", c.InsightsMinCalls, 1, 1_000_000)
	size("insights-max-series", c.InsightsMaxSeries, 1, 1_000_000)
	size("max-auth-failures", c.MaxAuthFailures, 0, 1_000_000)
	size("cache-mb", c.CacheMB, 1, 1<<20)
	size("query-memory-mb", c.QueryMemoryMB, 64, 1<<20)
	size("query-workers", c.QueryWorkers, 1, 256)
	if c.Columnar != "on" && c.Columnar != "off" {
		bad("columnar", "%q is neither on nor off", c.Columnar)
	}
	size("columnar-mb", c.ColumnarMB, 1, 1<<30)
	size("max-frame-mb", c.MaxFrameMB, 1, 256)
	return errors.Join(errs...)
}

// validateS3 checks what another S3 needs.
func (c *Config) validateS3(bad func(flag, format string, args ...any)) {
	if c.S3Endpoint == "" {
		if c.S3AccessKeyID != "" || c.S3SecretAccessKey != "" {
			bad("s3-endpoint", "credentials are given for an S3, but not where it is")
		}
		return
	}
	u, err := url.Parse(c.S3Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" && u.Path != "/" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		bad("s3-endpoint", "%q is not a URL such as https://s3.example.com:9000", c.S3Endpoint)
	}
	if c.S3AccessKeyID == "" || c.S3SecretAccessKey == "" {
		bad("s3-access-key-id", "the S3 at --s3-endpoint needs an access key and its secret")
	}
}

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
