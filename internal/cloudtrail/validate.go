package cloudtrail

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"spoor/internal/digest"
)

// checkTrailName applies CloudTrail's naming rules (user guide, "Naming
// requirements for CloudTrail resources, Amazon S3 buckets, and KMS keys").
func checkTrailName(name string) error {
	bad := func(format string, args ...any) error { return invalid("InvalidTrailNameException", format, args...) }
	n := utf8.RuneCountInString(name)
	switch {
	case name == "":
		return bad("Trail name cannot be blank!")
	case n < minTrailName:
		return bad("Trail name too short. Minimum allowed length: %d characters. Specified name length: %d characters.", minTrailName, n)
	case n > maxTrailName:
		return bad("Trail name too long. Maximum allowed length: %d characters. Specified name length: %d characters.", maxTrailName, n)
	}
	for i := range len(name) {
		c := name[i]
		if !alnum(c) && !strings.ContainsRune("._-", rune(c)) {
			return bad("Trail name or ARN can only contain uppercase letters, lowercase letters, numbers, periods (.), hyphens (-), and underscores (_).")
		}
		if i > 0 && !alnum(c) && !alnum(name[i-1]) {
			return bad("Trail name cannot contain two adjacent periods, hyphens or underscores.")
		}
	}
	if !alnum(name[0]) {
		return bad("Trail name must starts with a letter or number.")
	}
	if !alnum(name[len(name)-1]) {
		return bad("Trail name must ends with a letter or number.")
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return bad("Trail name cannot be in IP address format.")
	}
	return nil
}

func alnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

func checkTrailARN(arn string) error {
	if _, _, name, err := digest.TrailName(arn); err != nil || checkTrailName(name) != nil {
		return invalid("CloudTrailARNInvalidException", "Trail ARN %s is not valid. A trail's ARN has the form arn:aws:cloudtrail:us-east-2:123456789012:trail/MyTrail.", arn)
	}
	return nil
}

// bucketName is S3's rule (S3 user guide, "General purpose bucket naming
// rules").
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func checkBucketName(name string) error {
	_, ip := netip.ParseAddr(name)
	if !bucketName.MatchString(name) || strings.Contains(name, "..") || ip == nil {
		return invalid("InvalidS3BucketNameException", "Bucket name %s is not valid.", name)
	}
	return nil
}

// prefixChars are the characters that S3 calls safe in keys.
var prefixChars = regexp.MustCompile(`^[A-Za-z0-9!_.*'()/=+:@-]*$`)

func checkPrefix(prefix string) error {
	switch {
	case utf8.RuneCountInString(prefix) > maxPrefix:
		return invalid("InvalidS3PrefixException", "S3 prefix is longer than maximum length (%d).", maxPrefix)
	case strings.HasPrefix(prefix, "/") || strings.HasSuffix(prefix, "/") || strings.Contains(prefix, "//"):
		return invalid("InvalidS3PrefixException", "S3 prefix %s must not begin or end with a slash or contain two in a row.", prefix)
	case slices.ContainsFunc(strings.Split(prefix, "/"), func(part string) bool { return part == "." || part == ".." }):
		// S3's guide advises against them; its clients and stores of files cannot
		// address such a key, and the deliveries would fail for good.
		return invalid("InvalidS3PrefixException", "S3 prefix %s must not contain a part of periods only.", prefix)
	case !prefixChars.MatchString(prefix):
		return invalid("InvalidS3PrefixException", "S3 prefix %s contains characters that are not allowed.", prefix)
	}
	return nil
}
