package aws

// regions are those of the partition aws that have an endpoint of STS (AWS
// general reference, "AWS STS endpoints and quotas").
var regions = map[string]bool{
	"af-south-1": true, "ap-east-1": true, "ap-east-2": true, "ap-northeast-1": true, "ap-northeast-2": true,
	"ap-northeast-3": true, "ap-south-1": true, "ap-south-2": true, "ap-southeast-1": true, "ap-southeast-2": true,
	"ap-southeast-3": true, "ap-southeast-4": true, "ap-southeast-5": true, "ap-southeast-6": true, "ap-southeast-7": true,
	"ca-central-1": true, "ca-west-1": true, "eu-central-1": true, "eu-central-2": true, "eu-north-1": true,
	"eu-south-1": true, "eu-south-2": true, "eu-west-1": true, "eu-west-2": true, "eu-west-3": true, "il-central-1": true,
	"me-central-1": true, "me-south-1": true, "mx-central-1": true, "sa-east-1": true, "us-east-1": true, "us-east-2": true,
	"us-west-1": true, "us-west-2": true,
}

// IsRegion reports whether AWS has a region of that name. A server has all of
// them: a region exists as soon as somebody signs for it.
func IsRegion(name string) bool { return regions[name] }

// Regions lists the regions, in no order.
func Regions() []string {
	out := make([]string, 0, len(regions))
	for name := range regions {
		out = append(out, name)
	}
	return out
}
