package config

import (
	"strings"
	"testing"
)

func TestS3Endpoint(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set  func(*Config)
		want string // in the error, "" for none
	}{
		"embedded": {func(*Config) {}, ""},
		"another": {func(c *Config) {
			c.S3Endpoint, c.S3AccessKeyID, c.S3SecretAccessKey = "https://s3.test:9000/", "k", "s"
		}, ""},
		"no key":         {func(c *Config) { c.S3Endpoint = "http://s3.test" }, "--s3-access-key-id"},
		"no scheme":      {func(c *Config) { c.S3Endpoint, c.S3AccessKeyID, c.S3SecretAccessKey = "s3.test:9000", "k", "s" }, "--s3-endpoint"},
		"a path":         {func(c *Config) { c.S3Endpoint, c.S3AccessKeyID, c.S3SecretAccessKey = "http://s3.test/x", "k", "s" }, "--s3-endpoint"},
		"key only":       {func(c *Config) { c.S3AccessKeyID = "k" }, "--s3-endpoint"},
		"file interval":  {func(c *Config) { c.LakeFileInterval = 1 }, "--lake-file-interval"},
		"file of nobody": {func(c *Config) { c.LakeFileEvents = 0 }, "--lake-file-events"},
	} {
		conf := Default()
		c.set(&conf)
		err := conf.Validate()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
