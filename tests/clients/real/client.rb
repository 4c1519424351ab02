# Ruby's net/http: `ruby client.rb SUFFIX`.
require 'digest'
require 'json'
require 'net/http'

SUFFIX = ARGV[0] || ''
BODY = Array.new(1_000_000) { |at| at % 251 }.pack('C*')

def fact(what, status = nil, headers = [], body = '')
  puts JSON.generate(what: what, status: status, headers: headers, body: "#{body.bytesize} #{Digest::SHA256.hexdigest(body)}")
end

def answer(what, answer)
  fact(what, answer.code, answer.each_header.to_a, answer.body || '')
end

def get(service, path = '/')
  Net::HTTP.get_response(URI("http://#{service}#{SUFFIX}#{path}"))
end

answer('get', get('hello'))
answer('post', Net::HTTP.post(URI("http://echo#{SUFFIX}/"), BODY))
answer('stream', get('bytes', '/300000?chunked=1'))
%w[204 404 500 503].each { |status| answer(status, get('status', "/#{status}")) }
puts JSON.generate(what: 'asked', asked: get('echo', '/headers').body)
Net::HTTP.start("bytes#{SUFFIX}", 80) do |http|
  fact('fifty', 0, [], 50.times.map { |at| http.get("/#{at}").body }.join)
end
twenty = 20.times.map { |at| Thread.new { get('bytes', "/#{at}").body } }
fact('twenty', 0, [], twenty.map(&:value).join)
