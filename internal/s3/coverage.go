package s3

import "spoor/internal/call"

// apiNames are the API's names of operations whose event in CloudTrail, and so
// whose name here, differs, or that several API operations share.
var apiNames = map[string][]string{
	"GetBucketLifecycle":                       {"GetBucketLifecycle", "GetBucketLifecycleConfiguration"},
	"PutBucketLifecycle":                       {"PutBucketLifecycle", "PutBucketLifecycleConfiguration"},
	"GetBucketNotification":                    {"GetBucketNotification", "GetBucketNotificationConfiguration"},
	"PutBucketNotification":                    {"PutBucketNotification", "PutBucketNotificationConfiguration"},
	"GetBucketPublicAccessBlock":               {"GetPublicAccessBlock"},
	"PutBucketPublicAccessBlock":               {"PutPublicAccessBlock"},
	"DeleteBucketPublicAccessBlock":            {"DeletePublicAccessBlock"},
	"GetBucketInventoryConfiguration":          {"GetBucketInventoryConfiguration", "ListBucketInventoryConfigurations"},
	"GetBucketAnalyticsConfiguration":          {"GetBucketAnalyticsConfiguration", "ListBucketAnalyticsConfigurations"},
	"GetBucketMetricsConfiguration":            {"GetBucketMetricsConfiguration", "ListBucketMetricsConfigurations"},
	"GetBucketIntelligentTieringConfiguration": {"GetBucketIntelligentTieringConfiguration", "ListBucketIntelligentTieringConfigurations"},
	"ListObjects":                              {"ListObjects", "ListObjectsV2"},
}

const (
	storageKeys     = "AES256 only; the embedded storage leaves encryption at rest to the disk"
	neverConfigured = "a bucket never has such a configuration: the operation that puts one is refused"
	plainFiles      = "in the embedded storage no key can be a directory of another's (`a` and `a/b`)"
	ownersOnly      = "buckets are BucketOwnerEnforced: no other ownership and no grants"
)

// partial is what operations lack of S3's behaviour.
var partial = map[string]string{
	"GetBucketLifecycle": neverConfigured, "GetBucketCors": neverConfigured, "GetBucketWebsite": neverConfigured,
	"GetBucketReplication": neverConfigured, "GetBucketLogging": neverConfigured,
	"PutObject": plainFiles, "CopyObject": plainFiles, "CompleteMultipartUpload": plainFiles,
	"PutObjectRetention":    "a retention can be changed, but not removed before it ends",
	"GetBucketNotification": neverConfigured, "GetBucketAccelerateConfiguration": neverConfigured,
	"GetBucketRequestPayment": neverConfigured,
	"GetBucketAcl":            ownersOnly, "PutBucketAcl": ownersOnly, "GetObjectAcl": ownersOnly, "PutObjectAcl": ownersOnly,
	"GetBucketOwnershipControls": ownersOnly, "PutBucketOwnershipControls": ownersOnly, "DeleteBucketOwnershipControls": ownersOnly,
	"PutBucketVersioning": "no MFA delete", "PutBucketEncryption": storageKeys, "GetBucketEncryption": storageKeys, "DeleteBucketEncryption": storageKeys,
}

// Coverage says how far each operation of S3 is offered, by the API's names.
// A request of one that
// it leaves out is answered MethodNotAllowed.
func Coverage() map[string]call.Coverage {
	out := map[string]call.Coverage{}
	for _, o := range operations {
		c := call.Coverage{State: call.Full, Note: partial[o.name]}
		switch {
		case o.refused:
			c = call.Coverage{State: call.Refusal, Note: "NotImplemented"}
		case c.Note != "":
			c.State = call.Part
		}
		names := apiNames[o.name]
		if names == nil {
			names = []string{o.name}
		}
		for _, n := range names {
			out[n] = c
		}
	}
	return out
}
