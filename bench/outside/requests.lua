-- For wrk: sends the requests of a file, one after the other over all connections, and again from the front after the
-- last. The file holds them as they go over the wire, each with a zero byte behind it. Prints what came of it as JSON.

local requests, last = {}, 0

function init (args)
  local file = assert(io.open(args[1], 'rb'))
  for each in file:read('*a'):gmatch('[^%z]+') do requests[#requests + 1] = each end
  file:close()
end

function request ()
  last = last % #requests + 1
  return requests[last]
end

function done (summary, latency)
  local errors = summary.errors
  print(string.format(
    'json {"requests":%d,"seconds":%.6f,"bytes":%d,"refused":%d,"broken":%d,"p50":%.3f,"p99":%.3f}',
    summary.requests, summary.duration / 1e6, summary.bytes,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3
  ))
end
