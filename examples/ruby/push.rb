# An app that sends a mail without letting its visitor wait: / pushes a job and goes on, /work does the work.
# Ruby's standard library is enough. To try it:
#
#   (umask 077; echo app:secret > /tmp/tasker.auth)
#   tasker --basicauth @/tmp/tasker.auth
#   TASKER_AUTH_FILE=/tmp/tasker.auth ruby examples/ruby/push.rb
#   curl 'localhost:8000/?to=ann@example.org'

require "json"
require "net/http"
require "socket"
require "uri"

PORT = Integer(ENV.fetch("PORT", "8000"))
APP = ENV.fetch("APP_URL", "http://localhost:#{PORT}")
TASKER = URI(ENV.fetch("TASKER_URL", "http://localhost:9900"))
USER, PASSWORD = File.read(ENV.fetch("TASKER_AUTH_FILE", "/etc/tasker.auth")).strip.split(":", 2)

# Push a job; its uid.
def push(job)
  request = Net::HTTP::Post.new("/add")
  request.basic_auth(USER, PASSWORD)
  request.set_form_data(job)
  tls = TASKER.scheme == "https"
  answer = Net::HTTP.start(TASKER.host, TASKER.port, use_ssl: tls, open_timeout: 5, read_timeout: 5) do |http|
    http.request(request)
  end
  raise "the job was not taken: #{answer.code} #{answer.body}" unless answer.code == "201"

  JSON.parse(answer.body)["uid"]
end

# The visitor's page.
def page(to)
  work = "#{APP}/work?#{URI.encode_www_form(to: to)}"
  push(max_attempts: 5, url: work, title: "Send a mail")
end

# The job's page: a 200 says that it is done, anything else that it is to be attempted again. A job may run twice,
# say after a power cut: its uid stays the same, note it with what was done to do it once.
def work(to, uid)
  puts "job #{uid}: a mail to #{to}" # here goes the work, as slow as it may be
  "sent to #{to}"
end

# What a web framework does for you.
def serve(client)
  _, target = client.gets.to_s.split
  return if target.nil?

  headers = {}
  while (line = client.gets) && line != "\r\n"
    name, value = line.chomp.split(": ", 2)
    headers[name.downcase] = value
  end
  path, query = target.split("?", 2)
  to = URI.decode_www_form(query.to_s).to_h.fetch("to", "ann@example.org")
  said = path == "/work" ? work(to, headers["tasker-uid"]) : page(to)
  answer(client, "200 OK", said)
rescue StandardError => error
  answer(client, "500 Internal Server Error", error.message)
ensure
  client.close
end

def answer(client, status, text)
  client.write("HTTP/1.1 #{status}\r\nContent-Type: text/plain\r\n" \
               "Content-Length: #{text.bytesize + 1}\r\nConnection: close\r\n\r\n#{text}\n")
end

$stdout.sync = true
server = TCPServer.new("localhost", PORT)
puts "at #{APP}"
loop { Thread.new(server.accept) { |client| serve(client) } }
