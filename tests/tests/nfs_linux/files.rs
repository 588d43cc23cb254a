//! Names, contents, attributes and permissions, as the client's programs see them.

use super::World;

/// Renames, links, and names of every kind.
pub fn names(world: &World) {
    world.check(
        "rename",
        r#"
        mkdir -p /mnt/w/names/d1/deep /mnt/w/names/d2 && cd /mnt/w/names
        echo first > a; echo second > b
        inode=$(stat -c %i a)
        mv a c; [ ! -e a ]; is "$(cat c)" first
        mv c b; is "$(cat b)" first; is "$(stat -c %i b)" $inode; [ ! -e c ]
        mv b d1/deep/moved; mv d1/deep d2/shallow; [ ! -e d1/deep ]; is "$(cat d2/shallow/moved)" first
        is "$(stat -c %h d1 d2 | tr '\n' ' ')" "2 3 "
        mkdir empty; mv -T d1 empty; [ ! -e d1 ]; is "$(stat -c %h .)" 4
        echo x > empty/x; fails "not empty" mv -T d2 empty
        fails "irectory" mv -T empty/x d2
        mv d2/shallow/moved d2/moved; rmdir d2/shallow; rm -r empty
        is "$(find . | sort | tr '\n' ' ')" ". ./d2 ./d2/moved "
        "#,
    );
    world.check(
        "hard links, symbolic links",
        r#"
        mkdir /mnt/w/links; cd /mnt/w/links
        echo one > a; ln a b; ln b c
        is "$(stat -c '%h %i' a)" "3 $(stat -c %i c)"
        echo two >> c; is "$(cat a | tr '\n' ' ')" "one two "
        rm a; is "$(stat -c %h b)" 2; rm b; is "$(stat -c %h c)" 1; is "$(head -1 c)" one
        fails "exists" ln c c
        ln -s c s; is "$(readlink s)" c; is "$(head -1 s)" one; is "$(stat -c %s s)" 1
        long=$(printf '%01000d' 7); ln -s $long l; is "$(readlink l)" $long
        longest=$(printf '%04095d' 7); ln -s $longest m; is "$(readlink m)" $longest
        ln -s nowhere dangling; fails "No such file" cat dangling
        mkdir target; ln -s target way; echo in > way/file; is "$(cat target/file)" in
        ln -s loop loop; fails "ymbolic link" cat loop
        "#,
    );
    world.check(
        "odd and long names, deep directories",
        r#"
        mkdir /mnt/w/odd; cd /mnt/w/odd
        n255=$(printf '%0255d' 1); n256=$(printf '%0256d' 1)
        echo l > $n255; is "$(cat $n255)" l; fails "too long" touch $n256
        mkdir bytes; probe name bytes
        remount; cd /mnt/w/odd
        probe named bytes
        cd ..; rm -r odd; mkdir odd; cd odd
        d=; for i in $(seq 60); do d=${d}level$i/; done
        mkdir -p $d; echo bottom > ${d}file; is "$(cat ${d}file)" bottom
        is "$(find . -type d | wc -l)" 61; cd ..; rm -r odd
        "#,
    );
}

/// Contents.
pub fn files(world: &World) {
    world.check(
        "truncate, append, mmap, O_EXCL, unlinked files, times, holes",
        r#"
        mkdir /mnt/w/files; cd /mnt/w/files
        dd if=/dev/urandom of=/tmp/work/a bs=1000 count=300 2>/dev/null; cp /tmp/work/a a
        for size in 150000 4096 4095 1 0 5 70000; do
            truncate -s $size a /tmp/work/a; is "$(stat -c %s a)" $size; cmp a /tmp/work/a
        done
        echo overwrite > a; is "$(cat a)" overwrite
        { for i in $(seq 500); do echo "first writer $i"; done; } >> log &
        { for i in $(seq 500); do echo "other writer $i"; done; } >> log
        wait
        is "$(wc -l < log)" 1000; is "$(sort -u log | wc -l)" 1000; is "$(grep -c '^\(first\|other\) writer [0-9]*$' log)" 1000
        for probe in mmap exclusive unlinked times sparse; do
            probe $probe . || { echo "probe $probe failed" >&2; exit 1; }
        done
        remount; cd /mnt/w/files
        is "$(wc -l < log)" 1000; is "$(stat -c '%s %Y' sparse times | tr '\n' ' ' | cut -d' ' -f1,4)" "1610612736 2000000011"
        cd ..; rm -r files; [ ! -e files ]
        "#,
    );
}

/// Things that are neither files nor directories, and what is known about all of them.
pub fn objects_and_attributes(world: &World) {
    world.check(
        "devices, sockets, modes, owners",
        r#"
        mkdir /mnt/w/special; cd /mnt/w/special
        mkfifo p; { echo through > p & }; is "$(cat p)" through
        mknod n c 1 3; is "$(stat -c '%F %t %T' n)" "character special file 1 3"; echo gone > n
        mknod b b 259 1048575; is "$(stat -c '%F %t %T' b)" "block special file 103 fffff"
        touch f; chmod 4751 f; is "$(stat -c %a f)" 4751
        chown 1234:5678 f; is "$(stat -c '%u %g' f)" "1234 5678"
        chown 4000000000:4000000001 f; is "$(stat -c '%u %g' f)" "4000000000 4000000001"
        before=$(stat -c %Z f); sleep 1; chmod 600 f; [ $(stat -c %Z f) -gt $before ]
        touch -d '2001-02-03 04:05:06' f; is "$(date -u -r f +%s)" 981173106
        umask 027; mkdir m; touch m/x; is "$(stat -c %a m m/x | tr '\n' ' ')" "750 640 "
        cd ..; rm -r special
        "#,
    );
}

/// The same file system as other users see it.
pub fn permissions(world: &World) {
    world.check(
        "permissions of another user, root squashed",
        r#"
        as() { probe as "$@"; }
        mkdir /mnt/w/perm; cd /mnt/w/perm; chmod 755 . ..
        echo secret > secret; chmod 600 secret; echo open > open; chmod 644 open
        fails "ermission denied" as 1000 cat secret; is "$(as 1000 cat open)" open
        fails "ermission denied" as 1000 sh -c 'echo x >> open'
        fails "ermission denied" as 1000 touch new
        fails "not permitted" as 1000 chmod 666 open; fails "not permitted" as 1000 chown 1000 open
        mkdir home; chown 1000:1000 home; as 1000 touch home/mine; is "$(stat -c '%u %g' home/mine)" "1000 1000"
        fails "ermission denied" as 1001 rm -f home/mine; as 1000 rm home/mine
        chmod 1777 home; as 1001 touch home/theirs; fails "not permitted\|denied" as 1002 rm -f home/theirs; as 1001 rm home/theirs
        mkdir closed; echo x > closed/x; chmod 700 closed; fails "ermission denied" as 1000 cat closed/x
        fails "ermission denied" as 1000 ls closed
        mkdir group; chgrp 77 group; chmod 2775 group; touch group/f; is "$(stat -c %g group/f)" 77
        mkdir group/d; is "$(stat -c '%g %a' group/d)" "77 2755"
        cd ..; rm -r perm

        mkdir -p /s; mount -t nfs -o vers=3,nolock 10.0.0.1:/squash /s
        fails "ermission denied" touch /s/x
        chmod 777 /mnt/squash; touch /s/x; is "$(stat -c '%u %g' /s/x)" "65534 65534"
        fails "not permitted" chown 0 /s/x
        echo top > /mnt/squash/root; chmod 600 /mnt/squash/root; fails "ermission denied" cat /s/root
        as 1000 touch /s/user; is "$(stat -c '%u %g' /s/user)" "1000 1000"
        umount /s; rm /mnt/squash/*
        "#,
    );
}
