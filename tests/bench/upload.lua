-- For wrk: each request carries 10 MB up.
wrk.method = "POST"
wrk.body = string.rep("x", 10000000)
