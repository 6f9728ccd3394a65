// SPIRE's server and agent for the tests in this folder, built by scripts/spire.sh. go.sum is the one of SPIRE's own module,
// which the checksum database vouches for: two modules of the AWS SDK are not in the database themselves.
module sidestep/test/spire

go 1.24.6

require github.com/spiffe/spire v1.13.0
