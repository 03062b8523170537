-- The head that Chrome sends for a fetch(): twelve fields. wrk calls `format` once and repeats the bytes.
-- With the argument "changing" a thirteenth field, X-Request-Id, differs in every request, as behind a
-- proxy that numbers requests: a server that remembers whole heads gains nothing from it then.

local function head(host)
  return table.concat({
    "GET / HTTP/1.1",
    "Host: " .. host,
    "Connection: keep-alive",
    'sec-ch-ua-platform: "Linux"',
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
      .. "Chrome/131.0.0.0 Safari/537.36",
    'sec-ch-ua: "Google Chrome";v="131", "Chromium";v="131", "Not_A Brand";v="24"',
    "sec-ch-ua-mobile: ?0",
    "Accept: application/json, text/plain, */*",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Mode: cors",
    "Sec-Fetch-Dest: empty",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-GB,en-US;q=0.9,en;q=0.8",
  }, "\r\n") .. "\r\n"
end

function init(args)
  local host = wrk.host .. ":" .. wrk.port
  local fixed = head(host)
  if args[1] == "changing" then
    local number = 100000000000
    local open = fixed .. "X-Request-Id: 7d0f5a2c-93be-4c1d-8a6e-"
    request = function()
      number = number + 1
      return open .. string.format("%d", number) .. "\r\n\r\n"
    end
  else
    wrk.format = function() return fixed .. "\r\n" end
  end
end
