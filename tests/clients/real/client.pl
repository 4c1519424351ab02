# Perl's HTTP::Tiny and LWP: `perl client.pl tiny|lwp SUFFIX`.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use JSON::PP;

my ($client, $suffix) = (@ARGV, '');
my $body = join '', map { chr($_ % 251) } 0 .. 999_999;
my $json = JSON::PP->new->canonical;

sub fact {
    my ($what, $status, $headers, $got) = @_;
    my $sum = length($got) . ' ' . sha256_hex($got);
    print $json->encode({ what => $what, status => $status, headers => $headers, body => $sum }), "\n";
}

my ($tiny, $lwp);
if ($client eq 'tiny') {
    require HTTP::Tiny;
    $tiny = HTTP::Tiny->new(timeout => 30);
} else {
    require LWP::UserAgent;
    $lwp = LWP::UserAgent->new(timeout => 30, keep_alive => 4);
}

sub get {
    my ($service, $path, $content) = @_;
    my $url = "http://$service$suffix$path";
    if ($tiny) {
        my $answer = $tiny->request(defined $content ? 'POST' : 'GET', $url, defined $content ? { content => $content } : {});
        die $answer->{content} if $answer->{status} == 599;
        return ($answer->{status}, $answer->{headers}, $answer->{content});
    }
    my $answer = defined $content ? $lwp->post($url, Content => $content) : $lwp->get($url);
    die $answer->as_string if ($answer->header('Client-Warning') // '') ne '';
    my %headers = map { $_ => scalar $answer->header($_) } grep { !/^client-/i } $answer->header_field_names;
    return ($answer->code, \%headers, $answer->content);
}

fact('get', get('hello', '/'));
# LWP reads nothing of an answer that comes while it writes, so that an echo may be stuck.
fact('post', get($tiny ? 'echo' : 'hello', '/', $body));
fact('stream', get('bytes', '/300000?chunked=1'));
fact($_, get('status', "/$_")) for qw(204 404 500 503);
print $json->encode({ what => 'asked', asked => (get('echo', '/headers'))[2] }), "\n";
fact('fifty', 0, [], join '', map { (get('bytes', "/$_"))[2] } 0 .. 49);
