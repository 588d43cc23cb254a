//! libFuzzer's way into [`keelson_fuzz::targets::qnet_sh`]; without libFuzzer, runs the files named as arguments.
#![cfg_attr(fuzzing, no_main)]

keelson_fuzz::target!(qnet_sh);
