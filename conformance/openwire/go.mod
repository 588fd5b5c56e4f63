module github.com/hermodmq/hermod/conformance/openwire

go 1.26.0

require github.com/hermodmq/hermod/conformance/harness v0.0.0

replace github.com/hermodmq/hermod/conformance/harness => ../harness
