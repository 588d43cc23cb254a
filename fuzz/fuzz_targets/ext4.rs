//! libFuzzer's way into [`keelson_fuzz::targets::ext4`]; without libFuzzer, runs the files named as arguments.
#![cfg_attr(fuzzing, no_main)]

keelson_fuzz::target!(ext4);
